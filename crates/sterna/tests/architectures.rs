//! Every row of the table of networks: names, tensors and reports agree.

use std::collections::BTreeSet;

use sterna::arch::hybrid::Form;
use sterna::arch::rope_scaling::Yarn;
use sterna::arch::{Arch, Config, Hybrid, Kind, Pooling, RopeScaling, Scalings};
use sterna::checkpoint::Checkpoint;
use sterna::checkpoint::write::{WriteOptions, write_gguf};
use sterna::kernels::format::F16;
use sterna::kernels::{Cpu, DeltaHeads, sets};
use sterna::model::{self, ALL, Batch, KvType, MINICPM, Settings};

/// A small network, with a separate head if the architecture has one.
fn config(architecture: &'static Arch) -> Config {
    Config {
        architecture,
        hidden: 128,
        intermediate: 128,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 32,
        vocab: 24,
        context: 64,
        rms_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::None,
        pooling: architecture.projection_norms.then_some(Pooling::Last),
        windows: None,
        scalings: (architecture == &MINICPM).then_some(Scalings { embedding: 12.0, branch: 0.25, head: 0.5 }),
        tied: false,
        eos: Vec::new(),
        hybrid: (architecture == &model::QWEN35).then(|| {
            let delta = DeltaHeads { keys: 2, values: 4, key_dim: 32, value_dim: 32, taps: 4, tiled: true };
            Box::new(Hybrid { attention: vec![false, true], rotary: 16, delta, form: Form::Gguf, hadamard: None })
        }),
    }
}

#[test]
fn names_belong_to_one_architecture() {
    let (mut names, mut gguf, mut classes) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for arch in model::known() {
        assert!(names.insert(arch.name), "{} twice", arch.name);
        assert!(!arch.gguf.is_empty() && !arch.hugging_face.is_empty(), "{}", arch.name);
        for name in arch.gguf {
            let kind = (name, arch.projection_norms);
            assert!(gguf.insert(kind), "{name} names two architectures in GGUF files");
            assert!(arch.projection_norms || model::by_gguf_name(name) == Some(arch), "{name}");
        }
        for name in arch.hugging_face {
            let kind = (name, arch.hidden_act, arch.projection_norms);
            assert!(classes.insert(kind), "{name} with {} is two architectures", arch.hidden_act);
        }
    }
    assert_eq!(model::by_gguf_name("gpt2"), None);
}

#[test]
fn tensors_have_one_name_in_each_format() {
    for arch in model::known() {
        for tied in [false, true] {
            let config = Config { tied, ..config(arch) };
            let slots = arch.tensors(&config);
            let mut seen = BTreeSet::new();
            for slot in &slots {
                assert!(seen.insert(&slot.name) && seen.insert(&slot.gguf), "{}: {} twice", arch.name, slot.name);
                assert!(
                    slot.aliases.iter().all(|alias| seen.insert(alias)),
                    "{}: an alias of {}",
                    arch.name,
                    slot.name
                );
            }
            let heads = slots.iter().filter(|slot| slot.name == "lm_head.weight").count();
            assert_eq!(heads, usize::from(arch.head && !tied), "{}", arch.name);
        }
    }
}

/// Canonical names convert to GGUF names and back, and every report on a checkpoint knows the architecture.
#[test]
fn every_architecture_is_written_read_and_loaded() {
    let (cpu, folder) = (Cpu::with(sets::portable(), 1), tempfile::tempdir().expect("a folder"));
    for arch in ALL.iter().map(|entry| entry.arch) {
        let source = Checkpoint::synthetic(config(arch), &F16, 1).expect("possible");
        let out = folder.path().join(format!("{}.gguf", arch.name));
        write_gguf(&source, &cpu, &out, WriteOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        let read = Checkpoint::open(&out).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read.config(), source.config());
        let names = |checkpoint: &Checkpoint| checkpoint.tensors().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&read), names(&source), "{}", arch.name);
        for slot in arch.tensors(read.config()) {
            assert_eq!(read.tensors()[&slot.name].stored_name, slot.gguf);
        }
        let weights: usize = arch.tensors(read.config()).iter().map(|slot| slot.kind.weights()).sum();
        let summary = read.summary();
        assert_eq!(summary.parameters, weights as u64, "{}", arch.name);
        assert!(summary.groups.iter().any(|group| group.encoding == "i2_s"), "{}", arch.name);
        let network = model::load(&read, &cpu, Settings::default()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(network.config().architecture, arch);
        assert!(network.weights().body_bytes > 0);
    }
}

/// Every network scales its rotary embedding as the configuration says.
#[test]
fn every_architecture_scales_its_rotary_embedding() {
    let cpu = Cpu::with(sets::portable(), 1);
    let yarn = Yarn { factor: 4.0, original: 16.0, fast: 32.0, slow: 1.0, attention: 1.1, truncate: true };
    let scalings = |pairs: usize| {
        [
            RopeScaling::None,
            RopeScaling::Yarn(yarn),
            RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 16.0 },
            RopeScaling::Divisors { divisors: vec![2.0; pairs], attention: 1.0 },
        ]
    };
    for arch in model::known() {
        let hidden = scalings(config(arch).rotary_dim() / 2).map(|rope_scaling| {
            let config = Config { rope_scaling, ..config(arch) };
            let checkpoint = Checkpoint::synthetic(config, &F16, 1).expect("possible");
            let network = model::load(&checkpoint, &cpu, Settings::default()).unwrap_or_else(|error| panic!("{error}"));
            let mut batch = Batch::default();
            batch.push(0, &[0], 0, &[3, 17, 4, 9, 8]);
            batch.want_last();
            network.forward(&cpu, &batch, &mut network.state(KvType::F32)).data().to_vec()
        });
        for (i, a) in hidden.iter().enumerate() {
            assert!(hidden[..i].iter().all(|b| a != b), "{}: scaling {i} changes nothing", arch.name);
        }
    }
}

#[test]
fn layers_weigh_what_their_matrices_do() {
    for arch in model::known() {
        let config = config(arch);
        let ternary = arch.tensors(&config).into_iter().filter(|slot| matches!(slot.kind, Kind::Ternary { .. }));
        let layer = config.hidden * (2 * 128 + 2 * 64 + 3 * 128);
        let expected = match &config.hybrid {
            None => (14, 2 * layer),
            // DeltaNet has queries, keys and values, gates, and an output; attention has gates beside its queries.
            Some(_) => (13, config.hidden * ((256 + 128 + 128) + (3 * 128 + 2 * 64) + 2 * 3 * 128)),
        };
        assert_eq!((ternary.count(), config.ternary_weights()), expected, "{}", arch.name);
    }
}
