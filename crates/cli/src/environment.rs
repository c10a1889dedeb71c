//! Environment variables whose names begin with `STERNA_`.

use clap::Command;

use crate::output;

/// Read by the kernels, not by an option.
const INSTRUCTION_SET: &str = "STERNA_ISA";

/// A warning for each `STERNA_` variable that no option of the program reads: mostly a typing mistake.
pub fn warnings(program: &Command) -> Vec<String> {
    let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("STERNA_")).collect();
    names.sort();
    let known = known(program);
    names.iter().filter(|name| !known.contains(name)).map(|name| warning(name, &known)).collect()
}

fn warning(name: &str, known: &[String]) -> String {
    let shown = output::printable(name);
    match known.iter().min_by_key(|other| distance(name, other)) {
        Some(nearest) => {
            format!("the environment variable {shown} has no effect; the nearest name that has is {nearest}")
        }
        None => format!("the environment variable {shown} has no effect"),
    }
}

/// The names of all variables that a command or one of its verbs reads.
fn known(command: &Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(|option| option.get_env()?.to_str()).map(str::to_owned);
    let mut all: Vec<String> = own.chain(command.get_subcommands().flat_map(known)).collect();
    if !all.iter().any(|name| name == INSTRUCTION_SET) {
        all.push(INSTRUCTION_SET.into());
    }
    all
}

/// The number of characters to add, remove or replace to get from one text to the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_changed_characters() {
        for (a, b, changes) in
            [("", "", 0), ("PORT", "PORT", 0), ("PROT", "PORT", 2), ("", "ISA", 3), ("LOG", "LOGS", 1)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (changes, changes), "{a} {b}");
        }
    }
}
