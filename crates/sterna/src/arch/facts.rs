//! Facts that a file states about its network, read before any weight.

/// The kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// A Hugging Face directory.
    HuggingFace,
    /// A GGUF file.
    Gguf,
}

/// Facts that a file states about its network.
pub struct Facts<'a> {
    /// The kind of the file, which determines the names of keys and tensors.
    pub container: Container,
    /// The keys: those of config.json, or a GGUF file's without the prefix that names the architecture.
    pub keys: &'a dyn Keys,
    /// The names of all tensors; empty while only the configuration has been read.
    pub tensors: &'a [&'a str],
    /// The values of a small tensor, if it can be read as plain numbers.
    pub values: &'a dyn Fn(&str) -> Option<Vec<f32>>,
}

/// Most values of a tensor that is read for [`Facts::values`].
pub(crate) const MAX_VALUES: usize = 1 << 20;

/// Keys and their values.
pub trait Keys {
    /// The value of `key`. Dots lead into objects of config.json.
    fn value(&self, key: &str) -> Option<Value<'_>>;

    /// The key's full name, for error messages.
    fn full_name(&self, key: &str) -> String;
}

/// The value of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// A boolean.
    Flag(bool),
    /// Any number.
    Number(f64),
    /// A string.
    Text(&'a str),
    /// The strings in a list; other items are left out.
    Texts(Vec<&'a str>),
    /// A list of numbers.
    Numbers(Vec<f64>),
    /// A list of booleans.
    Flags(Vec<bool>),
    /// A value of another type.
    Other,
}

/// Why a model cannot run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The file requires a computation that the network does not perform.
    Unsupported {
        /// The computation, and the key or tensor that requires it.
        what: String,
        /// What to do. `None` suggests the models that can run.
        remedy: Option<&'static str>,
    },
    /// Several unsupported computations.
    Several(Vec<Refusal>),
    /// A value has the wrong type.
    Malformed {
        /// The key's full name.
        key: String,
        /// What is wrong with the value.
        problem: &'static str,
    },
}

impl Refusal {
    /// An unsupported computation. The remedy suggests the models that can run.
    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into(), remedy: None }
    }

    /// The result of several checks.
    ///
    /// # Errors
    ///
    /// All refusals; the first value of a wrong type instead, if there is one.
    pub fn all(checks: impl IntoIterator<Item = Result<(), Self>>) -> Result<(), Self> {
        let mut refusals = Vec::new();
        for refusal in checks.into_iter().filter_map(Result::err) {
            match refusal {
                Self::Malformed { .. } => return Err(refusal),
                Self::Several(several) => refusals.extend(several),
                one => refusals.push(one),
            }
        }
        match refusals.len() {
            0 => Ok(()),
            1 => Err(refusals.remove(0)),
            _ => Err(Self::Several(refusals)),
        }
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

    /// The boolean value of a key; `None` if the key is absent.
    ///
    /// # Errors
    ///
    /// [`Refusal::Malformed`] if the value has another type.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, Refusal> {
        self.typed(key, "is not true or false", |value| if let Value::Flag(flag) = value { Some(flag) } else { None })
    }

    /// The number of a key; `None` if the key is absent.
    ///
    /// # Errors
    ///
    /// [`Refusal::Malformed`] if the value has another type.
    pub fn number(&self, key: &str) -> Result<Option<f64>, Refusal> {
        self.typed(key, "is not a number", |value| if let Value::Number(n) = value { Some(n) } else { None })
    }

    /// The string of a key; `None` if the key is absent.
    ///
    /// # Errors
    ///
    /// [`Refusal::Malformed`] if the value has another type.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>, Refusal> {
        self.typed(key, "is not a text", |value| if let Value::Text(text) = value { Some(text) } else { None })
    }

    /// The strings in a list; empty if the key is absent or its value is not a list.
    pub fn texts(&self, key: &str) -> Vec<&'a str> {
        match self.keys.value(key) {
            Some(Value::Texts(texts)) => texts,
            _ => Vec::new(),
        }
    }

    /// The numbers in a list; empty if the key is absent or its value is not such a list.
    pub fn numbers(&self, key: &str) -> Vec<f32> {
        match self.keys.value(key) {
            Some(Value::Numbers(numbers)) => numbers.into_iter().map(|number| number as f32).collect(),
            _ => Vec::new(),
        }
    }

    /// The booleans in a list; empty if the key is absent or its value is not such a list.
    pub fn flags(&self, key: &str) -> Vec<bool> {
        match self.keys.value(key) {
            Some(Value::Flags(flags)) => flags,
            _ => Vec::new(),
        }
    }

    /// Whether the file has a tensor of this name.
    pub fn has_tensor(&self, name: &str) -> bool {
        self.tensors.contains(&name)
    }
}
