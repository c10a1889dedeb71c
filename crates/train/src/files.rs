//! The files of a run.
//!
//! ```text
//! OUT/train.json           the recipe
//! OUT/log.jsonl            one object per step
//! OUT/state.safetensors    the latest checkpoint: parameters in f32, the optimiser's state, the position in the data
//! OUT/model/               the result, as Hugging Face lays out BitNet's master weights, or
//! OUT/adapter/             the result, as PEFT lays out low-rank adapters
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sterna::checkpoint::safetensors::{self, Entry, Header};
use sterna::checkpoint::whole::{self, write_whole};
use sterna::checkpoint::{Config, adapter};
use sterna::kernels::math::f32_to_bf16;

use crate::data::Cursor;
use crate::network::Parameter;
use crate::text::Text;
use crate::trainer::Trainer;
use crate::{Error, Result};

/// The directory of a run.
#[derive(Clone, Debug)]
pub struct RunDir(PathBuf);

/// Progress of a run, as saved in a checkpoint.
#[derive(Deserialize)]
struct SavedPosition {
    step: usize,
    cursor: Cursor,
}

impl RunDir {
    /// Opens the directory, creating it if necessary. Removes files that a killed run left unfinished.
    ///
    /// # Errors
    /// [`Error::Io`] if the directory cannot be made, or an unfinished file in it cannot be removed.
    pub fn create(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(Error::io(path))?;
        let run = Self(path.to_owned());
        for directory in [run.0.clone(), run.model(), run.adapter()] {
            let files = directory.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
            for part in files.filter(|file| whole::is_partial(file)) {
                fs::remove_file(&part).map_err(Error::io(&part))?;
            }
        }
        Ok(run)
    }

    /// Path of the directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Path of the recipe.
    pub fn recipe(&self) -> PathBuf {
        self.0.join("train.json")
    }

    /// Path of the log: one JSON object per step.
    pub fn log(&self) -> PathBuf {
        self.0.join("log.jsonl")
    }

    /// Path of the latest checkpoint.
    pub fn state(&self) -> PathBuf {
        self.0.join("state.safetensors")
    }

    /// Path of the trained model.
    pub fn model(&self) -> PathBuf {
        self.0.join("model")
    }

    /// Path of the trained adapter.
    pub fn adapter(&self) -> PathBuf {
        self.0.join("adapter")
    }

    /// Writes a checkpoint. A run resumed from it continues as if it had not stopped.
    ///
    /// # Errors
    /// [`Error::Sterna`] if the file cannot be written; then the previous checkpoint is unchanged.
    pub fn save_state(&self, trainer: &Trainer, cursor: &Cursor) -> Result<()> {
        let mut tensors = Vec::new();
        for (parameter, moments) in trainer.parameters.all().into_iter().zip(trainer.moments.all()) {
            let name = &parameter.slot.name;
            for (of, values) in [("value", &parameter.values), ("mean", &moments.mean), ("square", &moments.square)] {
                let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>().into();
                tensors.push((format!("{of}.{name}"), Entry { dtype: "F32", shape: vec![values.len()], bytes }));
            }
        }
        let place = json!({ "step": trainer.step, "cursor": cursor }).to_string();
        Ok(safetensors::write(&self.state(), ("place", &place), &tensors)?)
    }

    /// Loads the latest checkpoint into a trainer of the same recipe, and returns the position in the data. `None` if
    /// there is no checkpoint.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::State`] if it is damaged or of another network. The trainer
    /// must then not be used: some of its parameters may be the file's.
    pub fn load_state(&self, trainer: &mut Trainer) -> Result<Option<Cursor>> {
        let path = self.state();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(&path)(error)),
        };
        let damaged = |problem: String| Error::State { path: path.clone(), problem };
        let file = Header::parse(&path, &bytes.into()).map_err(|error| match error {
            sterna::Error::Malformed { place, problem, .. } => damaged(format!("{place}: {problem}")),
            other => other.into(),
        })?;
        let place = file.metadata.get("place").ok_or_else(|| damaged("does not contain its step".into()))?;
        let SavedPosition { step, cursor } = serde_json::from_str(place).map_err(|error| damaged(error.to_string()))?;
        let fill = |name: String, values: &mut Vec<f32>| {
            let tensor = file.tensors.get(&name).ok_or_else(|| damaged(format!("has no `{name}`")))?;
            if tensor.dtype != "F32" || tensor.shape != [values.len()] {
                return Err(damaged(format!("`{name}` does not have the size of the recipe's network")));
            }
            let numbers = tensor.bytes.as_chunks::<4>().0;
            values.iter_mut().zip(numbers).for_each(|(value, bytes)| *value = f32::from_le_bytes(*bytes));
            Ok(())
        };
        for (parameter, moments) in trainer.parameters.all_mut().into_iter().zip(trainer.moments.all_mut()) {
            let name = &parameter.slot.name;
            fill(format!("value.{name}"), &mut parameter.values)?;
            fill(format!("mean.{name}"), &mut moments.mean)?;
            fill(format!("square.{name}"), &mut moments.square)?;
        }
        trainer.step = step;
        Ok(Some(cursor))
    }

    /// Writes the result: an adapter, or the tokenizer's files and bf16 master weights, which are rounded to trits when
    /// they are loaded.
    ///
    /// # Errors
    /// [`Error::Sterna`] if a file cannot be written. Files that were written before it stay.
    pub fn save_result(&self, trainer: &Trainer, text: &Text) -> Result<()> {
        match trainer.adapter() {
            Some(result) => Ok(adapter::write(&self.adapter(), &result)?),
            None => self.save_model(trainer, text),
        }
    }

    fn save_model(&self, trainer: &Trainer, text: &Text) -> Result<()> {
        let tensors: Vec<_> = trainer.parameters.all().into_iter().map(master).collect();
        let directory = self.model();
        text.files.as_ref().map_or(Ok(()), |files| files.write(&directory))?;
        safetensors::write(&directory.join("model.safetensors"), ("format", "pt"), &tensors)?;
        let bos = text.tokenizer.bos();
        let (config, generation) = (config_json(trainer.config(), bos), generation_json(trainer.config(), bos));
        write_json(&directory.join("config.json"), &config)?;
        write_json(&directory.join("generation_config.json"), &generation)
    }
}

/// A parameter as master weights in bf16, under its name.
fn master(Parameter { slot, values }: &Parameter) -> (String, Entry) {
    let shape = if slot.rows == 1 { vec![slot.cols] } else { vec![slot.rows, slot.cols] };
    let bytes = values.iter().flat_map(|x| f32_to_bf16(*x).to_le_bytes()).collect::<Vec<_>>().into();
    (slot.name.clone(), Entry { dtype: "BF16", shape, bytes })
}

/// Writes JSON for people and programs.
///
/// # Errors
/// [`Error::Sterna`] if the file cannot be written; then an existing file is unchanged.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::io(path)(error.into()))?;
    Ok(write_whole(path, &[text.as_bytes(), b"\n"])?)
}

/// The decimal number with the fewest digits that rounds to this f32.
fn shortest(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

fn config_json(c: &Config, bos: Option<u32>) -> Value {
    json!({
        "architectures": ["BitNetForCausalLM"],
        "model_type": "bitnet",
        "vocab_size": c.vocab,
        "hidden_size": c.hidden,
        "intermediate_size": c.intermediate,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads,
        "hidden_act": "relu2",
        "max_position_embeddings": c.context,
        "rms_norm_eps": shortest(c.rms_eps),
        "rope_theta": c.rope_theta,
        "tie_word_embeddings": true,
        "bos_token_id": bos,
        "eos_token_id": c.eos,
        "torch_dtype": "bfloat16",
        "use_cache": true,
        "initializer_range": 0.02,
        "quantization_config": {
            "quant_method": "bitnet",
            "linear_class": "autobitlinear",
            "quantization_mode": "online",
        },
    })
}

fn generation_json(c: &Config, bos: Option<u32>) -> Value {
    json!({ "bos_token_id": bos, "eos_token_id": c.eos, "do_sample": true, "temperature": 0.7, "top_p": 0.9 })
}
