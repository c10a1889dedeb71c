//! Thinking before an answer, which some templates switch on and off.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::StrDeserializer;

/// Whether the model thinks before it answers, and how much.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Think {
    /// Off or on.
    Switch(bool),
    /// On, with this effort if the template tells efforts apart.
    Effort(Effort),
}

/// How much a model thinks.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Effort {
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
    Max,
}

impl Think {
    /// Whether it is on.
    pub fn is_on(self) -> bool {
        !matches!(self, Self::Switch(false))
    }

    /// The effort, as templates name it.
    pub fn effort(self) -> Option<&'static str> {
        if let Self::Effort(effort) = self { Some(effort.name()) } else { None }
    }
}

impl Effort {
    /// The effort of this name; `None` for other texts.
    pub fn named(text: &str) -> Option<Self> {
        let text: StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
        Self::deserialize(text).ok()
    }

    /// Its name in requests and templates.
    pub fn name(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::XHigh => "xhigh",
            Self::Max => "max",
        }
    }
}
