//! Collects the reasons why a file is not supported, so that all are reported at once.

use std::path::PathBuf;

use super::Error;
use crate::Result;
use crate::error::Reason;

/// The reasons found so far.
#[derive(Default)]
pub(super) struct Reasons {
    /// The file of the first one.
    path: PathBuf,
    found: Vec<Reason>,
}

impl Reasons {
    /// The value of a check; `None` if it gave a reason.
    ///
    /// # Errors
    ///
    /// Other errors than reasons, unless a reason was found before: then what looks like damage may follow from it.
    pub fn keep<T>(&mut self, checked: Result<T>) -> Result<Option<T>> {
        let (path, reasons) = match checked {
            Ok(value) => return Ok(Some(value)),
            Err(Error::Unsupported { path, what, remedy }) => (path, vec![Reason { what, remedy }]),
            Err(Error::Refused { path, reasons }) => (path, reasons),
            Err(other) if self.found.is_empty() => return Err(other),
            Err(_) => return Ok(None),
        };
        if self.found.is_empty() {
            self.path = path;
        }
        self.found.extend(reasons.into_iter().filter(|reason| !self.found.contains(reason)).collect::<Vec<_>>());
        Ok(None)
    }

    /// Ends the collection.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for one reason, and [`Error::Refused`] for several.
    pub fn check(mut self) -> Result<()> {
        let path = self.path;
        match self.found.len() {
            0 => Ok(()),
            1 => {
                let Reason { what, remedy } = self.found.remove(0);
                Err(Error::Unsupported { path, what, remedy })
            }
            _ => Err(Error::Refused { path, reasons: self.found }),
        }
    }
}
