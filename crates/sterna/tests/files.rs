//! Model files that change while they are in use, and models that are read instead of mapped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sterna::checkpoint::{Checkpoint, OpenOptions};
use sterna::engine::{Engine, EngineBuilder, Event, Request};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden");
const MODEL: &str = "bitnet-packed-offline";

/// A copy of the golden model: a directory, or its GGUF file.
fn copies() -> (tempfile::TempDir, [PathBuf; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("model");
    fs::create_dir(&directory).unwrap();
    for entry in fs::read_dir(Path::new(GOLDEN).join(MODEL)).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_file() {
            fs::copy(&entry, directory.join(entry.file_name().unwrap())).unwrap();
        }
    }
    let gguf = folder.path().join("model.gguf");
    fs::copy(Path::new(GOLDEN).join(MODEL).join("gguf/i2_s.gguf"), &gguf).unwrap();
    (folder, [directory, gguf])
}

/// The file that holds the tensors.
fn weights(model: &Path) -> PathBuf {
    if model.is_dir() { model.join("model.safetensors") } else { model.into() }
}

fn builder(mmap: bool) -> EngineBuilder {
    Engine::builder().mmap(mmap).threads(1)
}

/// Writes to the file in place, at a time that no clock's tick hides.
fn touch(path: &Path) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(10)).unwrap();
}

fn request() -> Request {
    Request::new(vec![1, 5, 9, 200]).max_tokens(4).ignore_eos(true)
}

/// Ids of the answer.
fn answer(engine: &Engine) -> Vec<u32> {
    let tokens = engine.generate(request()).unwrap().filter_map(|event| match event.unwrap() {
        Event::Token { id, .. } => Some(id),
        _ => None,
    });
    tokens.collect()
}

fn error<T>(result: sterna::Result<T>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

#[test]
fn models_that_are_read_give_the_same_logits() {
    let (_folder, models) = copies();
    for model in models {
        let logits = |mmap| {
            let engine = builder(mmap).open(&model).unwrap();
            let mut rows = Vec::new();
            for part in engine.logits(&[1, 5, 9, 200]).unwrap() {
                rows.extend_from_slice(part.unwrap().data());
            }
            rows
        };
        assert!(logits(true) == logits(false), "{}", model.display());
    }
}

#[test]
fn a_mapped_file_that_is_written_to_stops_new_requests() {
    let (_folder, models) = copies();
    for model in models {
        let engine = builder(true).open(&model).unwrap();
        assert_eq!(answer(&engine).len(), 4);
        touch(&weights(&model));
        let message = error(engine.generate(request()));
        assert!(message.contains("was changed while the model was in use"), "{message}");
        assert!(message.contains(&weights(&model).display().to_string()) && message.contains("rename it"), "{message}");
    }
}

#[test]
fn a_file_that_is_replaced_or_read_may_change() {
    let (_folder, models) = copies();
    for model in models {
        let file = weights(&model);
        let (mapped, read) = (builder(true).open(&model).unwrap(), builder(false).open(&model).unwrap());
        let other = model.with_extension("new");
        fs::copy(&file, &other).unwrap();
        fs::rename(&other, &file).unwrap();
        touch(&file);
        File::options().write(true).open(&file).unwrap().set_len(100).unwrap();
        let answers = [mapped, read].map(|engine| answer(&engine));
        assert_eq!(answers[0], answers[1]);
    }
}

#[test]
fn a_file_that_changes_before_it_is_loaded_is_noticed() {
    let (_folder, models) = copies();
    for model in models {
        for mmap in [true, false] {
            let open = || Checkpoint::open_with(&model, &OpenOptions::default().mmap(mmap)).unwrap();
            let (touched, replaced) = (open(), open());
            touched.files().check_read().unwrap();
            touch(&weights(&model));
            let message = error(builder(mmap).load(touched));
            assert!(message.contains("was replaced or changed while it was read"), "{message}");
            let other = model.with_extension("new");
            fs::copy(weights(&model), &other).unwrap();
            fs::rename(&other, weights(&model)).unwrap();
            assert!(replaced.files().check_read().is_err());
        }
    }
}

#[test]
fn a_file_that_is_cut_is_noticed_without_a_look_behind_its_end() {
    let (_folder, models) = copies();
    for model in models {
        let mapped = Checkpoint::open(&model).unwrap();
        File::options().write(true).open(weights(&model)).unwrap().set_len(100).unwrap();
        let message = error(mapped.files().check_mapped());
        assert!(message.contains("was changed while the model was in use"), "{message}");
        assert!(
            Checkpoint::open(&model).is_err()
                && Checkpoint::open_with(&model, &OpenOptions::default().mmap(false)).is_err()
        );
    }
}
