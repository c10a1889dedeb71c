//! A tiny training run.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use sterna_train::Result;
use sterna_train::recipe::{Recipe, Schedule, Shape};
use sterna_train::session::{Event, Session};

pub const SHAPE: Shape = Shape {
    vocab: 300,
    hidden: 32,
    intermediate: 64,
    layers: 2,
    heads: 2,
    kv_heads: 1,
    context: 32,
    rope_theta: 10_000.0,
};

/// Data files and a run on them.
pub struct Tiny {
    folder: tempfile::TempDir,
    pub recipe: Recipe,
}

impl Tiny {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let [stories, chat, held_out] = ["stories.jsonl", "chat.jsonl", "held-out.txt"].map(|n| folder.path().join(n));
        let rows: String = (0..40).map(|n| serde_json::json!({ "text": story(n) }).to_string() + "\n").collect();
        std::fs::write(&stories, rows).expect("written");
        let row = |n| {
            let (question, answer) = (format!("What is {n}?"), format!("A number after {}.", n - 1));
            let messages = [("user", question), ("assistant", answer)];
            let messages = messages.map(|(role, content)| serde_json::json!({ "role": role, "content": content }));
            serde_json::json!({ "messages": messages }).to_string() + "\n"
        };
        std::fs::write(&chat, (1..30).map(row).collect::<String>()).expect("written");
        std::fs::write(&held_out, story(100) + &story(101)).expect("written");
        let recipe = Recipe {
            shape: SHAPE,
            data: vec![(stories, 3.0), (chat, 0.7)],
            validate: Some(held_out),
            from: None,
            steps: 7,
            batch: 128,
            rate: 0.01,
            other_rate: 0.004,
            schedule: Schedule::Wsd,
            warm_up: 1,
            decay: 0.3,
            weight_decay: 0.1,
            clip: 1.0,
            z_loss: 1e-4,
            full_precision: 2,
            save_every: 3,
            adapter: None,
            seed: 1,
        };
        Self { folder, recipe }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs in the directory `name`.
    pub fn run(&self, name: &str) -> Result<()> {
        run(self.recipe.clone(), &self.path(name), 2, usize::MAX, &mut |_| {})
    }
}

/// Resumes a run for this many steps.
pub fn run(recipe: Recipe, out: &Path, threads: usize, steps: usize, tell: &mut dyn FnMut(Event<'_>)) -> Result<()> {
    let left = Cell::new(steps);
    let stop = || {
        left.set(left.get() - 1);
        left.get() == 0
    };
    Session::open(recipe, out, threads, tell)?.run(&stop, tell)
}

pub fn story(n: usize) -> String {
    let animals = ["tern", "fox", "owl", "hare", "seal", "crab"];
    let places = ["the pier", "a cold beach", "the old mill", "an island", "the lighthouse"];
    let (animal, place) = (animals[n % animals.len()], places[n % places.len()]);
    format!("One day the {animal} went to {place}. It counted {n} stones! Then it slept at {place}.\n")
}
