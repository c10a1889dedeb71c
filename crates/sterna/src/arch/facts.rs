//! What a file says of its network before any weight is read.

/// The kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// A Hugging Face directory.
    HuggingFace,
    /// A GGUF file.
    Gguf,
}

/// What a file says of its network.
pub struct Facts<'a> {
    /// The kind of the file. Keys and tensors have the names of that kind.
    pub container: Container,
    /// The keys: those of config.json, or a GGUF file's without the prefix that names the architecture.
    pub keys: &'a dyn Keys,
    /// Names of all tensors, or of none while only the configuration has been read.
    pub tensors: &'a [&'a str],
}

/// Keys and their values.
pub trait Keys {
    /// The value of `key`. Dots lead into objects of config.json.
    fn value(&self, key: &str) -> Option<Value<'_>>;

    /// The whole key, for messages.
    fn full_name(&self, key: &str) -> String;
}

/// The value of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// True or false.
    Flag(bool),
    /// Any number.
    Number(f64),
    /// A text.
    Text(&'a str),
    /// The texts in a list; its other items are left out.
    Texts(Vec<&'a str>),
    /// Something else.
    Other,
}

/// Why a file does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The file asks for a computation that the network does not follow.
    Unsupported {
        /// Which, with the key or tensor that says so.
        what: String,
        /// What to do; `None`: use one of the models that run.
        remedy: Option<&'static str>,
    },
    /// A value is of the wrong type.
    Malformed {
        /// The whole key.
        key: String,
        /// What its value is not.
        problem: &'static str,
    },
}

impl Refusal {
    /// A computation that is not followed; the remedy is a model that runs.
    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into(), remedy: None }
    }
}

impl<'a> Facts<'a> {
    fn typed<T>(
        &self,
        key: &str,
        problem: &'static str,
        read: impl Fn(Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(value) = self.keys.value(key) else { return Ok(None) };
        let malformed = || Refusal::Malformed { key: self.keys.full_name(key), problem };
        read(value).map(Some).ok_or_else(malformed)
    }

    /// A value that is true or false.
    ///
    /// # Errors
    ///
    /// [`Refusal::Malformed`] if the value is something else; so with the functions below.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, Refusal> {
        self.typed(key, "is not true or false", |value| if let Value::Flag(flag) = value { Some(flag) } else { None })
    }

    /// A number.
    ///
    /// # Errors
    ///
    /// As [`Facts::flag`].
    pub fn number(&self, key: &str) -> Result<Option<f64>, Refusal> {
        self.typed(key, "is not a number", |value| if let Value::Number(n) = value { Some(n) } else { None })
    }

    /// A text.
    ///
    /// # Errors
    ///
    /// As [`Facts::flag`].
    pub fn text(&self, key: &str) -> Result<Option<&'a str>, Refusal> {
        self.typed(key, "is not a text", |value| if let Value::Text(text) = value { Some(text) } else { None })
    }

    /// The texts of a list; none if the value is absent or no list.
    pub fn texts(&self, key: &str) -> Vec<&'a str> {
        match self.keys.value(key) {
            Some(Value::Texts(texts)) => texts,
            _ => Vec::new(),
        }
    }

    /// Whether the file has a tensor of this name.
    pub fn has_tensor(&self, name: &str) -> bool {
        self.tensors.contains(&name)
    }
}
