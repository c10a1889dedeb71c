//! Options that were given on the command line, as opposed to defaults: a resumed run accepts only some of them.

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches};

/// Ids of the options that were given, in the order of their declaration.
pub struct Given(Vec<String>);

impl Given {
    /// Whether the option with this id was given.
    pub fn has(&self, id: &str) -> bool {
        self.0.iter().any(|given| given == id)
    }

    /// The first option that is not in `others`, with its dashes.
    pub fn first_but(&self, others: &[&str]) -> Option<String> {
        let other = self.0.iter().find(|given| !others.contains(&given.as_str()))?;
        Some(format!("--{}", other.replace('_', "-")))
    }
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        // Ids of groups are names of types, which begin with a capital letter.
        let option = |id: &&str| id.starts_with(char::is_lowercase);
        let given = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        Ok(Self(matches.ids().map(|id| id.as_str()).filter(option).filter(given).map(str::to_owned).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Given {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}
