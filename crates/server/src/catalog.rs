//! The models that a server offers, found at its start.
//!
//! A request names one of them: its text is compared with these names, and never becomes part of a path.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sterna::checkpoint::{Checkpoint, gguf};
use sterna::engine::{Engine, EngineBuilder};

use crate::Error;
use crate::description::Description;

/// Loads a model's weights.
pub(crate) type Load = Box<dyn Fn() -> sterna::Result<Engine> + Send + Sync>;

/// The models that a server offers: one that is in memory from the start, others that are loaded on demand, or both.
#[derive(Default)]
pub struct Models {
    /// The model that stays in memory. Its name is that of the settings.
    pub(crate) loaded: Option<Engine>,
    pub(crate) found: Vec<Found>,
}

/// A model that is loaded on demand.
pub(crate) struct Found {
    pub description: Arc<Description>,
    pub load: Load,
}

/// One model, which stays in memory.
impl From<Engine> for Models {
    fn from(engine: Engine) -> Self {
        Self { loaded: Some(engine), found: Vec::new() }
    }
}

impl Models {
    /// The models in a folder, loaded on demand by `builder`. A model is a `.gguf` file, a Hugging Face directory, or a
    /// directory with one `.gguf` file; its name is that of the file, without the extension, or of the directory.
    ///
    /// Hidden files and the file or directory `except` are passed over. Other entries that are no model are skipped and
    /// logged, and so are links that leave the folder.
    ///
    /// # Errors
    /// For a folder that cannot be read, and for two models with one name.
    pub fn in_folder(folder: &Path, except: Option<&Path>, builder: &EngineBuilder) -> Result<Self, Error> {
        let unreadable = |source| Error::Folder { path: folder.into(), source };
        let root = folder.canonicalize().map_err(unreadable)?;
        let mut paths = Vec::new();
        for entry in fs::read_dir(&root).map_err(unreadable)? {
            paths.push(entry.map_err(unreadable)?.path());
        }
        paths.sort();
        let except = except.and_then(|path| path.canonicalize().ok());
        let mut models = Self::default();
        for path in paths.into_iter().filter(|path| !is_hidden(path) && !is_later_part(path)) {
            if except.is_some() && except == path.canonicalize().ok() {
                continue;
            }
            match open(&root, &path, builder) {
                Ok((description, file, builder)) => models = models.with_file(description, &root, file, builder)?,
                Err(problem) => tracing::warn!("{}: skipped: {problem}", path.display()),
            }
        }
        Ok(models)
    }

    /// The same models, and one that `load` loads on demand. `checkpoint` describes it.
    ///
    /// # Errors
    /// For a name that another model has, and a checkpoint that `builder` cannot load.
    pub fn with(
        self,
        name: &str,
        checkpoint: &Checkpoint,
        builder: &EngineBuilder,
        load: impl Fn() -> sterna::Result<Engine> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let description = Description::of_checkpoint(name.into(), checkpoint, builder)?;
        self.add(description, Box::new(load)).map_err(Error::Settings)
    }

    /// Adds a model; the error says that another one has its name.
    fn add(mut self, description: Description, load: Load) -> Result<Self, String> {
        let name = &description.name;
        if self.found.iter().any(|other| other.description.name == *name) {
            return Err(format!("two models have the name {name:?}: rename one of them"));
        }
        self.found.push(Found { description: Arc::new(description), load });
        Ok(self)
    }

    /// The same models, and one that stays in memory, whose name is that of the settings.
    pub fn with_loaded(self, engine: Engine) -> Self {
        Self { loaded: Some(engine), ..self }
    }

    /// Whether there is no model.
    pub fn is_empty(&self) -> bool {
        self.loaded.is_none() && self.found.is_empty()
    }

    fn with_file(
        self,
        description: Description,
        root: &Path,
        file: PathBuf,
        builder: EngineBuilder,
    ) -> Result<Self, Error> {
        let (root, path) = (root.to_owned(), file.clone());
        let load = move || {
            // The folder may have changed since the start.
            check_inside(&root, &file).map_err(|problem| unsupported(&file, &problem))?;
            builder.open(&file)
        };
        let added = self.add(description, Box::new(load));
        added.map_err(|problem| Error::Settings(format!("{}: {problem}", path.display())))
    }
}

/// The options with a context that the model supports.
fn fitting(builder: &EngineBuilder, checkpoint: &Checkpoint) -> EngineBuilder {
    let context = builder.context.map(|context| context.min(checkpoint.config().context));
    builder.clone().context(context)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with('.'))
}

fn unsupported(path: &Path, problem: &str) -> sterna::Error {
    sterna::Error::Unsupported { path: path.into(), what: problem.into(), remedy: "put the file itself there".into() }
}

/// Reads the headers of the model at `path`, an entry of `root`: what it is, its file or directory, and options that it
/// supports.
fn open(root: &Path, path: &Path, builder: &EngineBuilder) -> Result<(Description, PathBuf, EngineBuilder), String> {
    check_inside(root, path)?;
    let is_gguf = |path: &Path| path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf"));
    let file = if !path.is_dir() && !is_gguf(path) {
        return Err("neither a .gguf file nor a directory".into());
    } else if !path.is_dir() || path.join("config.json").exists() {
        path.to_owned()
    } else {
        let entries = path.read_dir().map_err(|error| error.to_string())?.flatten().map(|entry| entry.path());
        let mut files: Vec<PathBuf> = entries.filter(|path| is_gguf(path) && !is_later_part(path)).collect();
        match (files.pop(), files.len()) {
            (Some(file), 0) => file,
            (None, _) => return Err("a directory with neither config.json nor a .gguf file".into()),
            (Some(_), others) => return Err(format!("a directory with {} .gguf files: keep one", others + 1)),
        }
    };
    for part in parts_beside(&file) {
        check_inside(root, &part)?;
    }
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    let name = name.and_then(OsStr::to_str).map(gguf::model_name);
    let name = name.filter(|name| !name.contains(char::is_control));
    let name = name.ok_or("its name is not printable text, so that no request can name it")?;
    let checkpoint = Checkpoint::open_with(&file, &builder.open_options().mmap(true));
    let checkpoint = checkpoint.map_err(|error| error.to_string())?;
    let builder = fitting(builder, &checkpoint);
    let description = Description::of_checkpoint(name.into(), &checkpoint, &builder).map_err(|e| e.to_string())?;
    Ok((description, file, builder))
}

/// The parts of the model that a file is a part of; none for a whole file.
fn parts_beside(file: &Path) -> Vec<PathBuf> {
    let name = |path: &Path| Some(gguf::part_of(path.file_stem()?.to_str()?)?.0.to_owned());
    let (Some(own), Some(folder)) = (name(file), file.parent()) else { return Vec::new() };
    let entries = folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| name(path).as_ref() == Some(&own)).collect()
}

/// Whether a file is a part of a model that is split, other than the first, which opens all.
fn is_later_part(path: &Path) -> bool {
    let stem = path.file_stem().and_then(OsStr::to_str);
    !path.is_dir() && stem.and_then(gguf::part_of).is_some_and(|(_, number)| number > 1)
}

/// Checks that a file, or a directory and all that is directly in it, lies in `root` once links are followed.
fn check_inside(root: &Path, path: &Path) -> Result<(), String> {
    let inside = |path: &Path| match path.canonicalize() {
        Ok(real) if real.starts_with(root) => Ok(()),
        Ok(_) => Err(format!("{} is a link that leaves the folder", path.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    };
    inside(path)?;
    if path.is_dir() {
        for entry in path.read_dir().map_err(|error| error.to_string())? {
            inside(&entry.map_err(|error| error.to_string())?.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMBEDDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/embedded/sterna.gguf");

    fn names(folder: &Path) -> Vec<String> {
        let models = Models::in_folder(folder, None, &Engine::builder()).expect("a folder");
        models.found.iter().map(|found| found.description.name.clone()).collect()
    }

    #[test]
    fn models_are_found_by_their_headers() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for directory in ["one", "two", "none", ".hidden"] {
            fs::create_dir(at(directory)).expect("a directory");
        }
        for file in ["b.gguf", "a.GGUF", "one/x.gguf", "two/x.gguf", "two/y.gguf", ".hidden/x.gguf", ".c.gguf"] {
            fs::copy(EMBEDDED, at(file)).expect("a copy");
        }
        fs::write(at("broken.gguf"), "GGUF").expect("a file");
        fs::write(at("notes.txt"), "no model").expect("a file");
        assert_eq!(names(folder.path()), ["a", "b", "one"]);
        let except = Models::in_folder(folder.path(), Some(&at("b.gguf")), &Engine::builder()).expect("a folder");
        assert_eq!(except.found.len(), 2);

        fs::copy(EMBEDDED, at("one.gguf")).expect("a copy");
        let twice = Models::in_folder(folder.path(), None, &Engine::builder()).err().expect("two names").to_string();
        assert!(twice.contains("one.gguf") && twice.contains("the name \"one\""), "{twice}");
        let absent = Models::in_folder(&at("absent"), None, &Engine::builder()).err().expect("absent").to_string();
        assert!(absent.contains("absent"), "{absent}");
    }

    #[test]
    #[cfg(unix)]
    fn links_that_leave_the_folder_are_ignored() {
        use std::os::unix::fs::symlink;

        let (folder, outside) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let at = |name: &str| folder.path().join(name);
        fs::copy(EMBEDDED, outside.path().join("x.gguf")).expect("a copy");
        fs::copy(EMBEDDED, at("own.gguf")).expect("a copy");
        fs::create_dir(at("mixed")).expect("a directory");
        for (target, link) in [
            (outside.path().join("x.gguf"), "file.gguf"),
            (outside.path().to_owned(), "directory"),
            (outside.path().join("x.gguf"), "mixed/x.gguf"),
            (at("own.gguf"), "alias.gguf"),
            (at("absent"), "dangling.gguf"),
        ] {
            symlink(target, at(link)).expect("a link");
        }
        assert_eq!(names(folder.path()), ["alias", "own"]);

        let models = Models::in_folder(folder.path(), None, &Engine::builder().threads(1)).expect("a folder");
        assert!((models.found[1].load)().is_ok());
        fs::remove_file(at("own.gguf")).expect("removed");
        symlink(outside.path().join("x.gguf"), at("own.gguf")).expect("a link");
        let replaced = (models.found[1].load)().err().expect("the link is new").to_string();
        assert!(replaced.contains("leaves the folder"), "{replaced}");
    }
}
