//! Mismatched shapes panic; no operation truncates to the shorter one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use sterna_kernels::bf16::{Left, product_rows};
use sterna_kernels::gradient::LossTerms;
use sterna_kernels::{Activations, Bf16Panels, Bf16Rows, Cpu, LowRank, Rows, sets};

/// Its name, and what it does with rows.
type Operation<'a> = (&'static str, &'a dyn Fn(&Rows));

#[test]
fn row_operations_refuse_other_shapes() {
    let cpu = Cpu::with(sets::portable(), 1);
    let rows = |len, dim| Rows::from_vec(dim, vec![1.0; len * dim]);
    let (terms, weight) = (LossTerms { scale: 1.0, z: 0.0 }, [1.0; 32]);
    let update = LowRank::new(2, &[1.0; 64], &[1.0; 32], 1.0).expect("whole rows");
    // Each operation must accept 3 × 32 and reject rows of other shapes.
    let operations: [Operation<'_>; 14] = [
        ("rms_norm", &|x| drop(cpu.rms_norm(x, &weight, 1e-5))),
        ("add", &|x| cpu.add(&mut rows(3, 32), x)),
        ("sum", &|x| drop(cpu.sum(&rows(3, 32), x))),
        ("relu2_product", &|x| drop(cpu.relu2_product(&rows(3, 32), x))),
        ("relu2_mul", &|x| cpu.relu2_mul(&mut rows(3, 32), x)),
        ("silu_mul", &|x| cpu.silu_mul(&mut rows(3, 32), x)),
        ("gelu_mul", &|x| cpu.gelu_mul(&mut rows(3, 32), x)),
        ("rotate, cos", &|x| cpu.rotate(&mut rows(3, 64), x, &rows(3, 32))),
        ("rotate, sin", &|x| cpu.rotate(&mut rows(3, 64), &rows(3, 32), x)),
        ("normed", &|x| drop(Activations::normed(&cpu, x, &weight, 1e-5))),
        ("gated", &|x| drop(Activations::gated(&cpu, &rows(3, 32), x, &weight, 1e-5))),
        ("low rank", &|x| update.add(&cpu, x, &mut rows(3, 16))),
        ("gradient of a gate", &|x| cpu.relu2_mul_backward(&mut rows(3, 32), &mut rows(3, 32), x)),
        ("loss", &|x| assert!(cpu.cross_entropy(&mut x.clone(), &[31; 3], terms).cross_entropy > 0.0)),
    ];
    for (name, operation) in operations {
        operation(&rows(3, 32));
        for (len, dim) in [(2, 32), (4, 32), (3, 16), (3, 33)] {
            let one_a_row = ["rms_norm", "normed"].contains(&name) && dim == 32;
            if one_a_row || name == "loss" && len == 3 && dim == 33 {
                continue;
            }
            let refused = catch_unwind(AssertUnwindSafe(|| operation(&rows(len, dim)))).is_err();
            assert!(refused, "{name} takes {len} rows of {dim}");
        }
    }
}

#[test]
fn rotation_refuses_rows_that_are_not_whole_heads() {
    let cpu = Cpu::with(sets::portable(), 1);
    let rows = |dim| Rows::from_vec(dim, vec![1.0; dim]);
    let rotate = |dim| catch_unwind(AssertUnwindSafe(|| cpu.rotate(&mut rows(dim), &rows(8), &rows(8))));
    assert!(rotate(32).is_ok() && rotate(24).is_err());
}

#[test]
fn products_refuse_sides_that_do_not_share_a_dimension() {
    let cpu = Cpu::with(sets::portable(), 1);
    let (left, right) = (Bf16Rows::of(&cpu, &[1.0; 12], 4), Bf16Panels::of(&cpu, &[1.0; 15], 5));
    assert!(catch_unwind(AssertUnwindSafe(|| product_rows(&cpu, Left::Rows(&left), &right, 1.0))).is_err());
}
