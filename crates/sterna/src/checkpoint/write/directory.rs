//! Writes a checkpoint as a Hugging Face directory, or as one of MLX.
//!
//! ```text
//! hf-packed   NAME.weight U8 [rows / 4, cols], NAME.weight_scale [1]      BitNet's packing of transformers
//! hf-bf16     NAME.weight [rows, cols]: trit · scale as plain numbers
//! mlx         NAME.weight U32, NAME.scales, NAME.biases                    2 bits a weight; 1 bit for binary models
//! ```

use std::path::Path;

use serde_json::{Value, json};
use sterna_kernels::format::{BF16, F16, F32, Format, MLX_1BIT, Q1_0};
use sterna_kernels::{Cpu, Scales};

use super::check_form;
use super::config_json::{bos, config_json, generation_json};
use super::rows::{Put, SourceRows};
use crate::arch::{Arch, Kind, Slot};
use crate::checkpoint::whole::write_whole;
use crate::checkpoint::{Checkpoint, TextFiles, safetensors};
use crate::{Error, Result};

/// The form of a written directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Packed trits with one scale per layer, as transformers packs BitNet models.
    HfPacked,
    /// Trits times their scales as bf16, or as f16 or f32 if bf16 does not represent a scale.
    HfBf16,
    /// MLX's packing.
    Mlx,
}

impl Form {
    /// All forms.
    pub const ALL: [Self; 3] = [Self::HfPacked, Self::HfBf16, Self::Mlx];

    /// The name for `--to` and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::HfPacked => "hf-packed",
            Self::HfBf16 => "hf-bf16",
            Self::Mlx => "mlx",
        }
    }
}

/// Writes the directory `out` with `text`, the tokenizer's files ([`to_huggingface`](crate::text::to_huggingface)).
/// Returns the number format of plain weights or scales. `known` are the architectures that config.json may name.
///
/// # Errors
///
/// [`Error::Option`] if the form cannot hold the model, [`Error::Malformed`] and [`Error::Unsupported`] if a tensor cannot
/// be read, and [`Error::Io`] if a file cannot be written.
pub fn write_directory(
    checkpoint: &Checkpoint,
    cpu: &Cpu,
    out: &Path,
    form: Form,
    text: &TextFiles,
    known: &[&'static Arch],
) -> Result<&'static Format> {
    let directory = Directory::new(SourceRows { checkpoint, cpu }, form)?;
    let config = &checkpoint.config;
    let slots = config.architecture.tensors(config);
    let mut plan = Vec::new();
    for slot in &slots {
        directory.plan(slot, &mut plan)?;
    }
    let dtype = directory.number.safetensors.unwrap_or("F32");
    let mut json = config_json(&out.join("config.json"), config, known, torch_name(dtype), directory.packing())?;
    json["bos_token_id"] = json!(bos(&checkpoint.text));
    std::fs::create_dir_all(out).map_err(|source| Error::io(out, source))?;
    let listed: Vec<_> =
        plan.iter().map(|tensor| (&*tensor.name, tensor.dtype, &tensor.shape[..], tensor.bytes())).collect();
    let about = if form == Form::Mlx { "mlx" } else { "pt" };
    let mut file = safetensors::Writer::create(&out.join("model.safetensors"), Some(("format", about)), &listed)?;
    for tensor in &plan {
        directory.write(tensor, &mut |bytes| file.write(bytes))?;
    }
    file.finish()?;
    let write = |name: &str, bytes: &[u8]| write_whole(&out.join(name), &[bytes]);
    let pretty = |value: &Value| format!("{value:#}\n").into_bytes();
    write("generation_config.json", &pretty(&generation_json(config, &checkpoint.text)))?;
    if let TextFiles::HuggingFace { tokenizer, config, chat_template } = text {
        write("tokenizer.json", tokenizer)?;
        write("tokenizer_config.json", &pretty(config))?;
        if let Some(template) = chat_template {
            write("chat_template.jinja", template.as_bytes())?;
        }
    }
    // Last, because a directory with it counts as a model.
    write("config.json", &pretty(&json))?;
    Ok(directory.number)
}

/// The name of a number format in `torch_dtype`.
fn torch_name(dtype: &str) -> &'static str {
    match dtype {
        "BF16" => "bfloat16",
        "F16" => "float16",
        _ => "float32",
    }
}

/// A tensor of the written file.
struct Planned<'a> {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
    slot: &'a Slot,
    part: Part,
}

impl Planned<'_> {
    fn bytes(&self) -> u64 {
        let size = match self.dtype {
            "U8" => 1,
            "F16" | "BF16" => 2,
            _ => 4,
        };
        self.shape.iter().product::<usize>() as u64 * size
    }
}

/// Which part of a matrix a tensor holds.
#[derive(Clone, Copy)]
enum Part {
    /// Numbers that are no trits.
    Numbers,
    /// Trits times scales.
    Products,
    /// Trits, four quarters of the rows in one byte.
    Quarters,
    /// The only scale.
    Scale,
    /// The codes of MLX.
    Codes,
    /// The scale of each group times this factor.
    Scales(f32),
}

struct Directory<'a> {
    rows: SourceRows<'a>,
    form: Form,
    /// The number format of plain weights, or of scales.
    number: &'static Format,
    /// Columns in a group of MLX.
    columns: usize,
    /// Bits of a code of MLX.
    bits: usize,
}

impl<'a> Directory<'a> {
    /// Reads all scales, and chooses the number format that represents them and all other numbers: programs expect one
    /// format in a file.
    fn new(rows: SourceRows<'a>, form: Form) -> Result<Self> {
        let (checkpoint, config) = (rows.checkpoint, &rows.checkpoint.config);
        check_form(config, None)?;
        if form == Form::HfBf16 && config.architecture.quantize_at_load {
            let problem = "programs round plain weights of this architecture anew, to other scales; write hf-packed";
            return Err(Error::option("to", problem));
        }
        let mut formats = if form == Form::Mlx { vec![&F16, &BF16, &F32] } else { vec![&BF16, &F16, &F32] };
        let (mut columns, mut binary) = (128, true);
        for slot in config.architecture.tensors(config) {
            let Some(trits) = rows.trits(&slot)? else {
                let holds = holds(checkpoint, &slot)?;
                formats.retain(|format| holds(format));
                continue;
            };
            let scales = rows.decoded(&slot, &trits)?.scales();
            let values = match &scales {
                Scales::One(value) => std::slice::from_ref(value),
                Scales::Rows(values) => values,
                Scales::Groups { values, columns: own } => {
                    columns = columns.min(*own);
                    values
                }
            };
            formats.retain(|format| values.iter().all(|value| represents(format, *value)));
            binary &= [&Q1_0, &MLX_1BIT].contains(&trits.format());
        }
        let number = formats.first().copied().unwrap_or(&F32);
        Ok(Self { rows, form, number, columns, bits: if binary { 1 } else { 2 } })
    }

    /// The keys of config.json about the packing.
    fn packing(&self) -> Value {
        match self.form {
            Form::HfPacked => json!({ "quantization_config": {
                "quant_method": "bitnet",
                "linear_class": "autobitlinear",
                "quantization_mode": "offline",
            } }),
            Form::HfBf16 => json!({}),
            Form::Mlx => {
                let quantization = json!({ "group_size": self.columns, "bits": self.bits, "mode": "affine" });
                json!({ "quantization": quantization, "quantization_config": quantization })
            }
        }
    }

    /// Lists the tensors of a slot.
    fn plan<'s>(&self, slot: &'s Slot, plan: &mut Vec<Planned<'s>>) -> Result<()> {
        let stem = slot.name.trim_end_matches(".weight");
        let (rows, cols) = slot.kind.shape();
        let number = self.number.safetensors.unwrap_or("F32");
        let mut add = |name: String, dtype, shape, part| plan.push(Planned { name, dtype, shape, slot, part });
        let linear = matches!(slot.kind, Kind::Ternary { .. });
        let packed = linear || self.rows.trits(slot)?.is_some();
        match self.form {
            _ if !packed => {
                let shape = if let Kind::Vector { len } = slot.kind { vec![len] } else { vec![rows, cols] };
                add(slot.name.clone(), number, shape, Part::Numbers);
            }
            Form::HfPacked if linear => {
                if !rows.is_multiple_of(4) {
                    let problem = format!("`{}` has {rows} rows, and hf-packed packs four quarters", slot.name);
                    return Err(Error::option("to", problem));
                }
                add(slot.name.clone(), "U8", vec![rows / 4, cols], Part::Quarters);
                add(format!("{stem}.weight_scale"), number, vec![1], Part::Scale);
            }
            Form::HfPacked | Form::HfBf16 => add(slot.name.clone(), number, vec![rows, cols], Part::Products),
            Form::Mlx => {
                let groups = vec![rows, cols / self.columns];
                let of_trit = if self.bits == 1 { 2.0 } else { 1.0 };
                add(slot.name.clone(), "U32", vec![rows, cols * self.bits / 32], Part::Codes);
                add(format!("{stem}.scales"), number, groups.clone(), Part::Scales(of_trit));
                add(format!("{stem}.biases"), number, groups, Part::Scales(-1.0));
            }
        }
        Ok(())
    }

    fn write(&self, tensor: &Planned<'_>, put: &mut Put<'_>) -> Result<()> {
        let slot = tensor.slot;
        if matches!(tensor.part, Part::Numbers) {
            return match slot.kind {
                Kind::Vector { len } => {
                    let offset = self.rows.checkpoint.config.architecture.offset(slot);
                    let mut values = self.rows.checkpoint.vector(&slot.name, len)?;
                    values.iter_mut().for_each(|value| *value -= offset);
                    put(&encoded(self.number, &values))
                }
                _ => self.rows.dense(slot, self.number, put),
            };
        }
        let refuse =
            |why: String| Error::option("to", format!("{} cannot hold `{}`: it {why}", self.form.name(), slot.name));
        let trits = self.rows.trits(slot)?.ok_or_else(|| refuse("is not ternary".into()))?;
        let source = self.rows.decoded(slot, &trits)?;
        let (shape, scales) = (source.shape(), source.scales());
        match tensor.part {
            Part::Numbers => Ok(()),
            Part::Products => self.rows.each(&source, |first, trits| {
                let weights = trits.chunks_exact(shape.1).enumerate().flat_map(|(r, row)| {
                    let scales = &scales;
                    let weight =
                        move |(column, trit): (usize, &i8)| f32::from(*trit) * scales.of(shape, first + r, column);
                    row.iter().enumerate().map(weight)
                });
                put(&encoded(self.number, &weights.collect::<Vec<f32>>()))
            }),
            Part::Quarters => self.rows.quarters(&source, put),
            Part::Scale => match scales {
                Scales::One(scale) => put(&encoded(self.number, &[scale])),
                _ => Err(refuse("has several scales, but the form stores one for a matrix".into())),
            },
            Part::Codes => self.rows.each(&source, |_, trits| put(&codes(trits, self.bits))),
            Part::Scales(factor) => {
                let Scales::Groups { values, .. } = scales.grouped(shape, self.columns).map_err(refuse)? else {
                    return Ok(());
                };
                put(&encoded(self.number, &values.iter().map(|scale| scale * factor).collect::<Vec<_>>()))
            }
        }
    }
}

/// Codes of one or two bits, the first one in the lowest bits of a byte.
fn codes(trits: &[i8], bits: usize) -> Vec<u8> {
    let code = |trit: i8| if bits == 1 { u8::from(trit > 0) } else { (trit + 1) as u8 };
    let byte = |trits: &[i8]| trits.iter().rev().fold(0, |byte, trit| byte << bits | code(*trit));
    trits.chunks(8 / bits).map(byte).collect()
}

/// Whether a number format represents all numbers of a tensor that is not ternary.
fn holds(checkpoint: &Checkpoint, slot: &Slot) -> Result<impl Fn(&'static Format) -> bool> {
    let values = match slot.kind {
        Kind::Vector { len } => {
            let offset = checkpoint.config.architecture.offset(slot);
            checkpoint.vector(&slot.name, len)?.into_iter().map(|value| value - offset).collect()
        }
        _ => Vec::new(),
    };
    let stored = checkpoint.tensor(&slot.name)?.data.format();
    let is_table = values.is_empty();
    Ok(move |format: &'static Format| match is_table {
        true => *format == F32 || format == stored,
        false => values.iter().all(|value| represents(format, *value)),
    })
}

fn represents(format: &Format, value: f32) -> bool {
    let mut bytes = [0; 4];
    let size = format.row_bytes(1).unwrap_or(4);
    value.abs() <= 65504.0
        && format.encode(&[value], &mut bytes[..size])
        && format.numbers(&bytes[..size]) == Some(vec![value])
}

/// Values in a number format.
fn encoded(format: &Format, values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; format.row_bytes(values.len()).unwrap_or(0)];
    format.encode(values, &mut bytes);
    bytes
}
