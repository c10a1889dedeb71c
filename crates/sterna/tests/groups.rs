//! A GGUF file whose blocks have scales of their own: its logits equal those of a naive network in f64.

mod naive;

use std::collections::BTreeMap;
use std::fs;

use naive::{Naive, layers};
use sterna::checkpoint::adapter::Adapter;
use sterna::checkpoint::write::{WriteOptions, synthetic_vocabulary, write_gguf};
use sterna::checkpoint::{Checkpoint, Config, Data, RopeScaling};
use sterna::kernels::format::{F16, TQ2_0};
use sterna::kernels::math::f32_to_f16;
use sterna::kernels::{Cpu, sets};
use sterna::model::{self, BITNET, Batch, KvType, Precision, Settings};

/// Weights and bytes of a block of TQ2_0: two bits a weight, then the scale as a half.
const BLOCK: (usize, usize) = (256, 66);
const SCALES: [f32; 5] = [0.5, 0.25, 0.0, 2.0, 0.125];

/// The weight at `column` of a row of blocks. A block is two halves of 32 bytes; each byte has the codes of four weights
/// that are 32 columns apart, from the lowest bits on.
fn weight(row: &[u8], column: usize, scale: f32) -> f64 {
    let (block, within) = (column / BLOCK.0, column % BLOCK.0);
    let (half, shift, byte) = (within / 128, within % 128 / 32 * 2, within % 32);
    let code = row[block * BLOCK.1 + half * 32 + byte] >> shift & 3;
    (f64::from(code) - 1.0) * f64::from(scale)
}

fn logits(checkpoint: &Checkpoint, cpu: &Cpu, tokens: &[u32], precision: Option<Precision>) -> Vec<f32> {
    let settings = Settings { precision, ..Settings::default() };
    let model = model::load(checkpoint, cpu, settings).unwrap_or_else(|error| panic!("{error}"));
    let mut batch = Batch::default();
    batch.push(0, &[0], 0, tokens);
    batch.outputs = (0..tokens.len()).collect();
    let hidden = model.forward(cpu, &batch, &mut model.state(KvType::F16));
    model.head().expect("a head").logits(cpu, &hidden).data().to_vec()
}

#[test]
fn a_file_whose_blocks_have_scales_of_their_own_loads_whole() {
    let config = Config {
        architecture: &BITNET,
        hidden: 512,
        intermediate: 768,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 128,
        vocab: 512,
        context: 64,
        rms_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::None,
        pooling: None,
        windows: None,
        scalings: None,
        tied: true,
        eos: Vec::new(),
        hybrid: None,
    };
    let source = Checkpoint::synthetic(config, &F16, 5).expect("a possible configuration");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.gguf");
    let cpu = Cpu::with(sets::by_name("").expect("a set"), 2);
    let vocabulary = synthetic_vocabulary(512, 200).expect("possible");
    let options = WriteOptions::default().encoding(&TQ2_0).arch(&BITNET).head(&F16).vocabulary(Some(&vocabulary));
    write_gguf(&source, &cpu, &path, options).expect("written");

    // Every block gets the next scale. The naive network's weights are read from the same bytes.
    let mut file = fs::read(&path).expect("written");
    let even = Checkpoint::open(&path).expect("as written");
    let (mut block, mut weights) = (0, BTreeMap::new());
    for (layer, [rows, cols]) in layers(&even) {
        let Data::Ternary(trits) = &even.tensors()[&format!("{layer}.weight")].data else {
            panic!("{layer} is ternary")
        };
        let stored: &[u8] = trits.bytes();
        let start = file.windows(stored.len()).position(|window| window == stored).expect("it is in the file");
        let matrix = &mut file[start..start + rows * cols / BLOCK.0 * BLOCK.1];
        let scales: Vec<f32> = (0..rows * cols / BLOCK.0).map(|i| SCALES[(block + i) % SCALES.len()]).collect();
        block += scales.len();
        for (bytes, scale) in matrix.chunks_mut(BLOCK.1).zip(&scales) {
            bytes[64..].copy_from_slice(&f32_to_f16(*scale).to_le_bytes());
        }
        let row = |(r, row): (usize, &[u8])| {
            let scale = |column: usize| scales[r * (cols / BLOCK.0) + column / BLOCK.0];
            (0..cols).map(|column| weight(row, column, scale(column))).collect::<Vec<_>>()
        };
        let rows = matrix.chunks(cols / BLOCK.0 * BLOCK.1).enumerate().map(row).collect::<Vec<_>>();
        weights.insert(layer, rows);
    }
    fs::write(folder.path().join("groups.gguf"), file).expect("written");
    let groups = Checkpoint::open(&folder.path().join("groups.gguf")).expect("scales may differ");

    let adapter = Adapter { path: "none".into(), base: None, rank: 1, alpha: 1.0, layers: BTreeMap::default() };
    let mut naive = Naive::new(&even, &cpu, &adapter, Precision::Float32);
    naive.matrices = weights;
    let tokens = [3, 17, 4, 299, 8];
    let expected = naive.logits(&tokens);
    let got = |precision| logits(&groups, &cpu, &tokens, precision);
    let largest = expected.iter().fold(0f64, |max, x| max.max(x.abs()));
    let error = |got: &[f32]| got.iter().zip(&expected).fold(0f64, |max, (a, b)| max.max((f64::from(*a) - b).abs()));
    for (precision, most) in [(Some(Precision::Float32), 1e-4), (None, 1e-2), (Some(Precision::Int8), 0.5)] {
        let got = got(precision);
        assert_eq!(got.len(), expected.len());
        assert!(error(&got) < most * largest, "{precision:?}: {} of {largest}", error(&got));
    }
    assert!(error(&logits(&even, &cpu, &tokens, None)) > 0.1 * largest, "the scales change the logits");
}
