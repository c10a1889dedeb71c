//! I2_S written on an Arm machine: recognised by statistics, or read as the user says.

use std::path::{Path, PathBuf};

use sterna::checkpoint::gguf::Header;
use sterna::checkpoint::{Checkpoint, Data, I2sLayout, OpenOptions};
use sterna::kernels::Pool;

/// Trained models. That of 1bitLLM has too weak a correlation, so it would be read as x86.
const GOLDENS: [&str; 2] = ["bitnet-packed-offline/gguf/i2_s.gguf", "llama-bitlinear-packed/gguf/i2_s-q8_0.gguf"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden").join(name)
}

/// The same model as bitnet.cpp writes it on Arm: element 64h + 16s + p of each 128 has the place of 32s + 16h + p.
fn on_arm(path: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(path).expect("a golden");
    let header = Header::parse(path, &bytes.clone().into()).expect("valid");
    let start = bytes.len() - header.data_len();
    let mut changed = 0;
    for info in header.tensors.values().filter(|info| info.kind == 36) {
        let data = &mut bytes[start + info.offset as usize..][..info.weights / 4];
        for block in data.chunks_exact_mut(32) {
            let x86: Vec<u8> = block.to_vec();
            let code = |element: usize| x86[element % 32] >> (6 - 2 * (element / 32)) & 3;
            for (byte, out) in block.iter_mut().enumerate() {
                let (h, p) = (byte / 16, byte % 16);
                *out = (0..4).fold(0, |packed, s| packed | code(64 * h + 16 * s + p) << (6 - 2 * s));
            }
        }
        changed += 1;
    }
    assert!(changed > 0);
    bytes
}

/// All trits of a checkpoint.
fn trits(checkpoint: &Checkpoint) -> Vec<i8> {
    let pool = Pool::new(1);
    let mut all = Vec::new();
    for tensor in checkpoint.tensors().values() {
        let Data::Ternary(trits) = &tensor.data else { continue };
        let decoder = trits.decoder(&pool).expect("a scale");
        let mut row = vec![0; trits.cols()];
        for r in 0..trits.rows() {
            decoder.row(r, &mut row).expect("valid codes");
            all.extend_from_slice(&row);
        }
    }
    all
}

#[test]
fn files_from_arm_are_recognised_and_give_the_same_trits() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("arm.gguf");
    for name in GOLDENS {
        let x86 = Checkpoint::open(&golden(name)).expect("a golden");
        assert!(x86.remarks().is_empty(), "{name}: {:?}", x86.remarks());
        std::fs::write(&file, on_arm(&golden(name))).expect("written");
        let arm = Checkpoint::open(&file).expect("opens");
        let [remark] = arm.remarks() else { panic!("{name}: {:?}", arm.remarks()) };
        assert!(remark.contains("layout of Arm machines, because"), "{remark}");
        assert!(trits(&arm) == trits(&x86), "{name}");
    }
}

#[test]
fn the_user_decides() {
    let folder = tempfile::tempdir().expect("a folder");
    let arm = folder.path().join("arm.gguf");
    let x86 = golden(GOLDENS[0]);
    std::fs::write(&arm, on_arm(&x86)).expect("written");
    let open =
        |path: &Path, layout| Checkpoint::open_with(path, &OpenOptions::default().i2s_layout(layout)).expect("opens");
    let right = trits(&open(&x86, I2sLayout::X86));
    assert!(trits(&open(&arm, I2sLayout::Arm)) == right);
    for (file, layout, name) in [(&arm, I2sLayout::X86, "x86"), (&x86, I2sLayout::Arm, "Arm")] {
        let wrong = open(file, layout);
        assert!(trits(&wrong) != right);
        assert!(wrong.remarks()[0].contains(&format!("layout of {name} machines, as --i2s-layout says")));
    }
    // The option does not concern other formats.
    assert!(open(&golden("bonsai-1bit/gguf/q1_0.gguf"), I2sLayout::Arm).remarks().is_empty());
}
