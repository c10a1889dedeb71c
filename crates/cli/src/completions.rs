//! `sterna completions`: the script with which a shell completes the program's verbs and options.

use clap::Command;
use clap_complete::Shell;

use crate::output;

const EXAMPLES: &str = "\
The script goes to stdout. Packages install it where the shell looks for it.

Examples:
  sterna completions bash > ~/.local/share/bash-completion/completions/sterna
  sterna completions zsh > \"${fpath[1]}/_sterna\"
  sterna completions fish > ~/.config/fish/completions/sterna.fish";

/// Print the completions of a shell
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Completions {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub fn run(self, mut program: Command) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, "sterna", &mut script);
        output::text(&String::from_utf8(script)?)
    }
}
