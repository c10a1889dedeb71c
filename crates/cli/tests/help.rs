//! Help, man pages and completions: one layout, and the same options everywhere.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

/// Headings after the verb's own arguments and options, in their order.
const HEADINGS: [&str; 13] = [
    "Commands",
    "Arguments",
    "Options",
    "Model",
    "Network",
    "Access",
    "Limits",
    "Computing",
    "Sampling",
    "Form of the answer",
    "Written file",
    "Environment",
    "Examples",
];
/// Placeholders of values, each with one meaning.
const VALUES: [&str; 32] = [
    "ADDRESS",
    "ALPHA",
    "COMMAND",
    "DIR",
    "FILE",
    "FILE[=WEIGHT]",
    "FORMAT",
    "IDS",
    "KEY",
    "LIST",
    "MESSAGE",
    "MODE",
    "MODEL",
    "N",
    "NAME",
    "NORM",
    "ORIGIN",
    "PATH",
    "PATTERN",
    "PROMPT",
    "RANK",
    "RATE",
    "SECONDS",
    "SHAPE",
    "SHARE",
    "SHELL",
    "SIZE",
    "TEXT",
    "TIME",
    "TYPE",
    "WEIGHT",
    "X",
];

/// Options that mean something else in one verb: `bench` measures a list of thread counts and generates a number of tokens,
/// `train` writes a folder and makes an adapter.
const OTHERS: [(&str, &str); 4] =
    [("bench", "--threads"), ("bench", "--tokens"), ("train", "--out"), ("train", "--adapter")];

fn sterna(args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STERNA_")) {
        command.env_remove(name);
    }
    let output = command.args(args).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The verbs of the program, by its help, and those that are below a verb.
fn verbs() -> Vec<Vec<String>> {
    let help = sterna(&["--help"]);
    let list = help.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let names =
        list.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).filter(|name| *name != "help");
    let mut verbs: Vec<_> = names.filter(|name| !name.is_empty()).map(|name| vec![name.to_owned()]).collect();
    assert!(verbs.len() >= 10, "{help}");
    verbs.push(vec!["train".into(), "plot".into()]);
    verbs
}

fn help(verb: &[String]) -> String {
    let args: Vec<&str> = verb.iter().map(String::as_str).chain(["--help"]).collect();
    sterna(&args)
}

/// The names of the options that a text of help defines. Names in their descriptions stand further to the right.
fn options(help: &str) -> BTreeSet<String> {
    let defined = help.lines().filter(|line| line.starts_with("  -") || line.starts_with("      --"));
    defined.filter_map(|line| line.split([' ', ',']).find(|word| word.starts_with("--"))).map(str::to_owned).collect()
}

#[test]
fn help_has_one_layout() {
    for verb in verbs() {
        let help = help(&verb);
        let name = verb.join(" ");
        assert!(help.contains(&format!("Usage: sterna {name}")), "{help}");
        let headings: Vec<&str> =
            help.lines().filter_map(|line| line.strip_suffix(':')).filter(|line| !line.starts_with(' ')).collect();
        let known = |heading: &&str| HEADINGS.contains(heading);
        let places: Vec<_> = headings.iter().filter_map(|heading| HEADINGS.iter().position(|h| h == heading)).collect();
        assert!(places.is_sorted(), "{name}: {headings:?}");
        // Training has headings of its own for its recipe.
        assert!(verb[0] == "train" || headings.iter().all(known), "{name}: {headings:?}");
        assert_eq!(headings.last(), Some(&"Examples"), "{name}");
        let examples = help.split_once("\nExamples:\n").unwrap().1;
        assert!(examples.contains(&format!("sterna {name}")), "{examples}");
        let values = help.match_indices('<').map(|(at, _)| help[at + 1..].split('>').next().unwrap());
        for value in values.filter(|value| value.chars().all(|c| c.is_ascii_uppercase() || "_[]=.".contains(c))) {
            assert!(VALUES.contains(&value), "{name}: <{value}>");
        }
    }
}

/// `--head` says how logits are computed, and `--stored-head` how a head is stored.
#[test]
fn an_option_has_one_value_name_everywhere() {
    let mut seen = std::collections::BTreeMap::new();
    for verb in verbs() {
        for line in help(&verb).lines().filter(|line| line.starts_with("  -") || line.starts_with("      --")) {
            let mut words = line.split_whitespace().skip_while(|word| !word.starts_with("--"));
            let (Some(option), Some(value)) = (words.next(), words.next()) else { continue };
            let other = OTHERS.contains(&(verb[0].as_str(), option));
            if !value.starts_with('<') || other {
                continue;
            }
            let before = seen.entry(option.to_owned()).or_insert_with(|| value.to_owned()).clone();
            assert_eq!(before, value, "{verb:?} {option}");
        }
    }
    assert_eq!((seen["--head"].as_str(), seen["--stored-head"].as_str()), ("<MODE>", "<TYPE>"));
}

#[test]
fn every_verb_has_a_man_page_with_the_options_of_its_help() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("man1");
    sterna(&["man", path.to_str().unwrap()]);
    let page = |name: &str| {
        let path = path.join(format!("{name}.1"));
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    assert!(page("sterna").contains("STERNA_ISA"));
    let mut names = vec!["sterna.1".to_owned()];
    for verb in verbs() {
        let name = format!("sterna-{}", verb.join("-"));
        let text = page(&name).replace("\\-", "-");
        names.push(format!("{name}.1"));
        assert!(text.starts_with(".ie ") && text.contains(&format!(".TH {name} 1")), "{text}");
        // A definition has the names of the option in bold, with commas between.
        let defined = text.lines().filter(|line| line.starts_with("\\fB-"));
        let words = defined.flat_map(|line| line.split("\\fB").filter(|word| word.starts_with("--")));
        let documented: BTreeSet<_> = words.filter_map(|word| word.split('\\').next()).map(str::to_owned).collect();
        let shown = options(&help(&verb));
        assert!(shown.contains("--help"), "{name}: {shown:?}");
        assert_eq!(documented, shown, "{name}");
    }
    let mut written: Vec<_> =
        fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    written.sort();
    assert_eq!(written, names);
    assert!(
        !page("sterna").contains("avx") || page("sterna").contains("portable"),
        "pages are the same on every machine"
    );
}

#[test]
fn completions_know_every_verb_and_option() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = sterna(&["completions", shell]);
        for verb in verbs() {
            assert!(script.contains(verb.last().unwrap()), "{shell}: {verb:?}");
            for option in options(&help(&verb)) {
                let name = option.trim_start_matches('-');
                assert!(script.contains(name), "{shell}: {verb:?} {option}");
            }
        }
    }
    let bash = sterna(&["completions", "bash"]);
    let complete =
        format!("{bash}\nCOMP_WORDS=(sterna to); COMP_CWORD=1; _sterna sterna to sterna; echo \"${{COMPREPLY[*]}}\"");
    if let Ok(output) = Command::new("bash").args(["--norc", "-c", &complete]).output() {
        assert_eq!(String::from_utf8_lossy(&output.stdout), "tokenize\n", "{output:?}");
    }
}
