//! Thinking before an answer, which some templates switch on and off.

use schemars::JsonSchema;
use serde::Deserialize;

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
        Some(match self {
            Self::Switch(_) => return None,
            Self::Effort(Effort::Minimal) => "minimal",
            Self::Effort(Effort::Low) => "low",
            Self::Effort(Effort::Medium) => "medium",
            Self::Effort(Effort::High) => "high",
            Self::Effort(Effort::XHigh) => "xhigh",
            Self::Effort(Effort::Max) => "max",
        })
    }
}
