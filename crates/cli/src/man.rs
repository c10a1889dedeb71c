//! `sterna man`: the man pages of the program and its verbs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use sterna::kernels::limits;

use crate::{output, version};

const EXAMPLES: &str = "\
Writes sterna.1 and a page for each verb, such as sterna-run.1. DIR is made if it does not exist.

Examples:
  sterna man ~/.local/share/man/man1      then `man sterna-run`
  sterna man build/man1                   for a package";

/// Write man pages
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ManPages {
    /// Directory for the pages
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

impl ManPages {
    pub fn run(self, program: Command) -> anyhow::Result<()> {
        fs::create_dir_all(&self.dir).with_context(|| self.dir.display().to_string())?;
        // Without the instruction set: the pages are the same on every machine.
        let mut program = program.version(version::RELEASE).disable_help_subcommand(true);
        program.build();
        let pages = write(&program, &self.dir)?;
        output::note(&format!("{}: {}", self.dir.display(), output::count(pages, "man page")));
        Ok(())
    }
}

/// Writes the pages of a command and of the verbs below it, and returns their number.
fn write(command: &Command, dir: &Path) -> anyhow::Result<usize> {
    let page = Man::new(command.clone()).source(format!("sterna {}", version::RELEASE)).manual("Sterna");
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    let mut verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set()).peekable();
    if verbs.peek().is_some() {
        page.render_subcommands_section(&mut text)?;
    }
    closing(&command.get_after_help().map(ToString::to_string).unwrap_or_default()).to_writer(&mut text)?;
    let path = dir.join(page.get_filename());
    fs::write(&path, text).map_err(limits::explained).with_context(|| path.display().to_string())?;
    verbs.map(|verb| write(verb, dir)).try_fold(1, |sum, pages| Ok(sum + pages?))
}

/// The text after the options: notes, whose lines are filled, then a section for each heading, whose lines are kept.
fn closing(help: &str) -> Roff {
    let mut page = Roff::new();
    page.control("SH", ["NOTES"]);
    let mut lines_kept = false;
    for line in help.lines() {
        match line.strip_suffix(':').filter(|_| !line.starts_with(' ')) {
            Some(heading) => {
                if lines_kept {
                    page.control("fi", []);
                }
                page.control("SH", [heading.to_uppercase().as_str()]).control("nf", []);
                lines_kept = true;
            }
            None if line.is_empty() => drop(page.control("PP", [])),
            None => drop(page.text([roman(line)])),
        }
    }
    if lines_kept {
        page.control("fi", []);
    }
    page
}
