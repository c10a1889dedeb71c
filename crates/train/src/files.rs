//! Files of a run. Each takes its name only when it is complete, so whoever reads finds the old one or the new one.
//!
//! ```text
//! OUT/train.json           the recipe
//! OUT/log.jsonl            one object a step
//! OUT/state.safetensors    the latest checkpoint: parameters in f32, what the optimiser keeps, where the data is
//! OUT/model/               the result, as Hugging Face lays out BitNet's master weights, or
//! OUT/adapter/             the result, as PEFT lays out low-rank adapters
//! ```

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, View, serialize_to_file};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sterna::checkpoint::{Config, adapter};

use crate::data::Cursor;
use crate::network::Parameter;
use crate::text::Text;
use crate::trainer::Trainer;
use crate::weights::to_bf16;
use crate::{Error, Result};

/// Where a run keeps its files.
#[derive(Clone, Debug)]
pub struct RunDir(PathBuf);

/// Where a run stands.
#[derive(Deserialize)]
struct Place {
    step: usize,
    cursor: Cursor,
}

/// A tensor on its way into a file.
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for &Stored {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        (&self.bytes).into()
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

impl Stored {
    fn f32(values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Self { dtype: Dtype::F32, shape: vec![values.len()], bytes }
    }

    fn bf16(parameter: &Parameter) -> Self {
        let slot = &parameter.slot;
        let shape = if slot.rows == 1 { vec![slot.cols] } else { vec![slot.rows, slot.cols] };
        let bytes = parameter.values.iter().flat_map(|x| to_bf16(*x).to_le_bytes()).collect();
        Self { dtype: Dtype::BF16, shape, bytes }
    }
}

impl RunDir {
    /// The directory, made if it is not there.
    pub fn create(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(Error::io(path))?;
        Ok(Self(path.to_owned()))
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The recipe.
    pub fn recipe(&self) -> PathBuf {
        self.0.join("train.json")
    }

    /// One object a step.
    pub fn log(&self) -> PathBuf {
        self.0.join("log.jsonl")
    }

    /// The latest checkpoint.
    pub fn state(&self) -> PathBuf {
        self.0.join("state.safetensors")
    }

    /// The result.
    pub fn model(&self) -> PathBuf {
        self.0.join("model")
    }

    /// The result, if it is an adapter.
    pub fn adapter(&self) -> PathBuf {
        self.0.join("adapter")
    }

    /// Writes the latest checkpoint, from which the run can go on as if it had not stopped.
    pub fn save_state(&self, trainer: &Trainer, cursor: &Cursor) -> Result<()> {
        let mut tensors = Vec::new();
        for (parameter, moments) in trainer.parameters.all().into_iter().zip(trainer.moments.all()) {
            let name = &parameter.slot.name;
            tensors.push((format!("value.{name}"), Stored::f32(&parameter.values)));
            tensors.push((format!("mean.{name}"), Stored::f32(&moments.mean)));
            tensors.push((format!("square.{name}"), Stored::f32(&moments.square)));
        }
        // One entry: several would be written in a random order, and the file be another one each time.
        let place = json!({ "step": trainer.step, "cursor": cursor });
        let about = HashMap::from([("place".into(), place.to_string())]);
        replace(&self.state(), |path| safetensors_file(path, &tensors, Some(about)))
    }

    /// Puts the latest checkpoint into a trainer of the same recipe; returns where its data was. `None` if there is none.
    pub fn load_state(&self, trainer: &mut Trainer) -> Result<Option<Cursor>> {
        let path = self.state();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(&path)(error)),
        };
        let damaged = |problem: String| Error::State { path: path.clone(), problem };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| damaged(error.to_string()))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
        let place = header.metadata().as_ref().and_then(|about| about.get("place"));
        let place = place.ok_or_else(|| damaged("does not say which step it is of".into()))?;
        let Place { step, cursor } = serde_json::from_str(place).map_err(|error| damaged(error.to_string()))?;
        let fill = |name: String, values: &mut Vec<f32>| {
            let tensor = file.tensor(&name).map_err(|_| damaged(format!("has no `{name}`")))?;
            if tensor.dtype() != Dtype::F32 || tensor.data().len() != 4 * values.len() {
                return Err(damaged(format!("`{name}` is of another size than the recipe's network")));
            }
            let numbers = tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            values.iter_mut().zip(numbers).for_each(|(value, number)| *value = number);
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

    /// Writes the result: an adapter, or bf16 master weights, rounded to trits when they are loaded, and the tokenizer's
    /// files.
    pub fn save_result(&self, trainer: &Trainer, text: &Text) -> Result<()> {
        match trainer.adapter() {
            Some(result) => Ok(adapter::write(&self.adapter(), &result)?),
            None => self.save_model(trainer, text),
        }
    }

    fn save_model(&self, trainer: &Trainer, text: &Text) -> Result<()> {
        let tensors: Vec<_> =
            trainer.parameters.all().into_iter().map(|p| (p.slot.name.clone(), Stored::bf16(p))).collect();
        let about = HashMap::from([("format".into(), "pt".into())]);
        let directory = self.model();
        text.files.as_ref().map_or(Ok(()), |files| files.write(&directory))?;
        replace(&directory.join("model.safetensors"), |path| safetensors_file(path, &tensors, Some(about)))?;
        let bos = text.tokenizer.bos();
        let (config, generation) = (config_json(trainer.config(), bos), generation_json(trainer.config(), bos));
        write_json(&directory.join("config.json"), &config)?;
        write_json(&directory.join("generation_config.json"), &generation)
    }
}

fn safetensors_file(path: &Path, tensors: &[(String, Stored)], about: Option<HashMap<String, String>>) -> Result<()> {
    let views = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    serialize_to_file(views, about, path).map_err(|error| Error::io(path)(std::io::Error::other(error)))
}

/// Writes JSON for people and programs.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::io(path)(error.into()))?;
    replace(path, |path| fs::write(path, text + "\n").map_err(Error::io(path)))
}

/// Writes a file beside `path`, makes sure that it is on the disk, and gives it its name. If that fails the file that was
/// there is as it was.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let beside = path.with_added_extension("part");
    let on_disk = |path: &Path| File::open(path).and_then(|file| file.sync_all()).map_err(Error::io(path));
    let done = write(&beside)
        .and_then(|()| on_disk(&beside))
        .and_then(|()| fs::rename(&beside, path).map_err(Error::io(path)));
    if done.is_err() {
        // What could not be finished only takes room.
        let _ = fs::remove_file(&beside);
        return done;
    }
    // The new name is safe once the directory is; systems that cannot open directories keep names safe by themselves.
    match path.parent().map(File::open) {
        Some(Ok(directory)) => directory.sync_all().or(Ok(())),
        _ => Ok(()),
    }
}

/// The number with the fewest digits that is this one in f32.
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
