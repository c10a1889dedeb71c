//! The screened head never leaves out a row that matters, for any weights and hidden states.

#[path = "../../kernels/tests/random/mod.rs"]
mod random;

use sterna::kernels::format::F32;
use sterna::kernels::screen::{Bits, Estimates, Margin, Screen};
use sterna::kernels::{Bytes, Cpu, DenseMatrix, Rows, sets};
use sterna::model::{Candidates, Head, HeadMode, LogitQuery, Need};

use random::Random;

impl Random {
    /// Approximately normal, with standard deviation 1.
    fn normal(&mut self) -> f32 {
        (0..6).map(|_| (self.next() >> 40) as f32 / (1 << 24) as f32).sum::<f32>() * 1.414 - 4.242
    }

    fn rows(&mut self, rows: usize, dim: usize) -> Rows {
        Rows::from_vec(dim, (0..rows * dim).map(|_| self.normal()).collect())
    }
}

fn stored(rows: &Rows) -> DenseMatrix {
    let bytes: Vec<u8> = rows.data().iter().flat_map(|x| x.to_le_bytes()).collect();
    DenseMatrix::new(&F32, rows.len(), rows.dim(), Bytes::from(bytes)).unwrap()
}

/// Weights and hidden states that attack the bound.
fn cases() -> Vec<(&'static str, Rows, Rows)> {
    let mut random = Random(1);
    let (n, d) = (301, 70);
    let mut cases = Vec::new();
    let mut case = |name, change: &dyn Fn(&mut Rows, &mut Rows, &mut Random)| {
        let (mut w, mut x) = (random.rows(n, d), random.rows(3, d));
        change(&mut w, &mut x, &mut random);
        cases.push((name, w, x));
    };
    case("normal", &|_, _, _| ());
    case("rows that differ in one last bit", &|w, _, random| {
        let first = w.row(0).to_vec();
        for r in 1..n {
            w.row_mut(r).copy_from_slice(&first);
            let bits = w.row(r)[r % d].to_bits() ^ (random.next() & 1) as u32;
            w.row_mut(r)[r % d] = f32::from_bits(bits);
        }
    });
    case("all rows equal", &|w, _, _| {
        let first = w.row(0).to_vec();
        (0..n).for_each(|r| w.row_mut(r).copy_from_slice(&first));
    });
    case("zero rows and zero states", &|w, x, _| {
        (0..n).step_by(2).for_each(|r| w.row_mut(r).fill(0.0));
        x.row_mut(1).fill(0.0);
    });
    case("outliers of the state", &|_, x, _| (0..3).for_each(|t| x.row_mut(t)[7 * t] = 3e4));
    case("outliers of rows", &|w, _, _| (0..n).for_each(|r| w.row_mut(r)[r % d] *= 1e4));
    case("one-hot states", &|_, x, _| {
        (0..3).for_each(|t| {
            x.row_mut(t).fill(0.0);
            x.row_mut(t)[11 * t] = -2.5;
        });
    });
    case("errors along the state", &|w, x, random| {
        // Every weight is just off the middle between two of the 127 steps, in the direction of the sign of its factor.
        for r in 0..n {
            for k in 0..d {
                let towards = if x.row(0)[k] > 0.0 { 0.499 } else { -0.499 };
                w.row_mut(r)[k] =
                    (random.below(200) as f32 - 100.0 + if r % 2 == 0 { towards } else { -towards }) / 127.0;
            }
            w.row_mut(r)[r % d] = 1.0;
        }
    });
    case("errors of the high bits along the state", &|w, x, random| {
        // Each weight is near the end of the values that share its six high bits, away from the sign of its factor.
        for r in 0..n {
            for k in 0..d {
                let end = if (x.row(0)[k] > 0.0) == (r % 2 == 0) { 3.49 } else { -0.49 };
                w.row_mut(r)[k] = (4.0 * (random.below(60) + 2) as f32 + end - 127.5) / 127.5;
            }
            w.row_mut(r)[r % d] = 1.0;
        }
    });
    case("errors of the state along rows", &|w, x, random| {
        for k in 0..d {
            let sign = if random.next() & 1 == 0 { 1.0 } else { -1.0 };
            x.row_mut(0)[k] = ((random.below(2000) as f32 - 1000.0) + 0.499 * sign) / 2047.0;
            (0..n).step_by(2).for_each(|r| w.row_mut(r)[k] = sign * (1.0 + 0.01 * r as f32));
        }
        x.row_mut(0)[3] = 1.0;
    });
    case("cancelling sums", &|w, x, _| {
        for r in 0..n {
            for k in (0..d).step_by(2) {
                w.row_mut(r)[k + 1] = -w.row(r)[k] * (1.0 + (r % 7) as f32 * f32::EPSILON);
            }
        }
        (0..3).for_each(|t| x.row_mut(t).fill(1000.0 + t as f32));
    });
    case("denormal weights", &|w, x, _| {
        w.data_mut().iter_mut().for_each(|w| *w *= 1e-40);
        x.row_mut(2).iter_mut().for_each(|x| *x *= 1e38);
    });
    case("denormal states", &|w, x, _| {
        x.data_mut().iter_mut().for_each(|x| *x *= 1e-42);
        w.row_mut(5).iter_mut().for_each(|w| *w *= 1e37);
    });
    case("products that overflow", &|w, x, _| {
        (0..n).step_by(3).for_each(|r| w.row_mut(r).iter_mut().for_each(|w| *w *= 1e30));
        x.data_mut().iter_mut().for_each(|x| *x *= 1e12);
    });
    case("numbers that are none", &|w, x, _| {
        (w.row_mut(3)[1], w.row_mut(4)[2], w.row_mut(9)[0]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
        (x.row_mut(1)[5], x.row_mut(2)[6]) = (f32::NAN, f32::NEG_INFINITY);
    });
    case("one great row", &|w, _, _| w.row_mut(250).iter_mut().for_each(|w| *w *= 30.0));
    // No code and no integer is rounded, but a long float sum of equal numbers is rounded the same way every time.
    let wide =
        |rows: usize| Rows::from_vec(40_000, (0..rows * 40_000).map(|i| 1.0 + (i / 40_000) as f32 / 61.0).collect());
    cases.push(("roundings that add up", wide(20), wide(3)));
    cases
}

/// The estimates of a screen, before and after refining all of them.
fn rough_and_refined(screen: &Screen, cpu: &Cpu, x: &Rows, margin: Margin) -> [Estimates; 2] {
    let [rough, mut refined] = [(); 2].map(|()| screen.estimate(cpu, x, margin));
    let ids: Vec<u32> = (0..rough.values.dim() as u32).collect();
    for t in 0..x.len() {
        screen.refine(cpu, x.row(t), margin, &ids, refined.values.row_mut(t), refined.margins.row_mut(t));
    }
    [rough, refined]
}

#[test]
fn no_product_lies_outside_its_margin() {
    for (name, w, x) in cases() {
        for set in sets::available() {
            let (cpu, w) = (Cpu::with(set, 1), stored(&w));
            let products = w.matmul(&cpu, &x);
            for bits in [Bits::Four, Bits::Six, Bits::Eight] {
                for estimates in rough_and_refined(&Screen::build(&cpu, &w, bits).unwrap(), &cpu, &x, Margin::Proven) {
                    let ends = estimates.values.data().iter().zip(estimates.margins.data());
                    for (i, (product, (value, margin))) in products.data().iter().zip(ends).enumerate() {
                        let outside = *product < value - margin
                            || *product > value + margin
                            || product.is_nan() && margin.is_finite();
                        assert!(!outside, "{name}, {bits:?}, {}, {i}: {product} is not {value} ± {margin}", set.name());
                    }
                }
            }
        }
    }
}

/// Margins are useful, not only correct: with 8 bits and normal weights they are a few percent of a logit's standard
/// deviation.
#[test]
fn margins_are_narrow() {
    let mut random = Random(2);
    let (w, x, cpu) = (random.rows(64, 2560), random.rows(1, 2560), Cpu::new(1).unwrap());
    let deviation = 2560f32.sqrt();
    for (bits, margin, most) in [
        (Bits::Eight, Margin::Proven, [0.5; 2]),
        (Bits::Six, Margin::Proven, [2.0, 0.5]),
        (Bits::Four, Margin::Sigmas(8.0), [1.1; 2]),
        (Bits::Four, Margin::Proven, [7.0; 2]),
    ] {
        let screen = Screen::build(&cpu, &stored(&w), bits).unwrap();
        for (estimates, most) in rough_and_refined(&screen, &cpu, &x, margin).iter().zip(most) {
            let widest = estimates.margins.data().iter().copied().fold(0.0, f32::max) / deviation;
            assert!(widest < most && widest > most / 10.0, "{bits:?} {margin:?}: {widest}");
        }
    }
}

/// The value that counts in comparisons: −∞ for NaN, the greatest number for infinity.
fn clean(logit: f32) -> f32 {
    if logit.is_nan() { f32::NEG_INFINITY } else { logit.min(f32::MAX) }
}

/// Checks candidates against the logits of all tokens.
fn assert_complete(what: &str, logits: &[f32], query: &LogitQuery, got: &Candidates) {
    assert!(got.ids.is_sorted(), "{what}");
    for (&id, logit) in got.ids.iter().zip(&got.logits) {
        assert_eq!(logit.to_bits(), logits[id as usize].to_bits(), "{what}: the logit of {id}");
    }
    let listed = |id: u32| got.ids.binary_search(&id).is_ok();
    assert!(query.also.iter().all(|&id| listed(id)), "{what}: tokens named in the query");
    let mut others: Vec<u32> = (0..logits.len() as u32).filter(|id| !query.also.contains(id)).collect();
    others.sort_by(|&a, &b| clean(logits[b as usize]).total_cmp(&clean(logits[a as usize])).then(a.cmp(&b)));
    let greatest = others.first().map_or(0.0, |&id| clean(logits[id as usize]));
    let needed = match query.need {
        Need::All => others.len(),
        Need::Best(count) => count.min(others.len()),
        Need::Within(distance) => others.iter().filter(|&&id| logits[id as usize] >= greatest - distance).count(),
        Need::Mass { temperature, .. } => {
            let left = others.iter().filter(|&&id| !listed(id)).map(|&id| logits[id as usize]);
            let mass: f64 = left.map(|x| (f64::from(x - greatest) / f64::from(temperature)).exp()).sum();
            assert!(mass <= got.rest, "{what}: {mass} above {}", got.rest);
            0
        }
    };
    assert!(others[..needed].iter().all(|&id| listed(id)), "{what}: {needed} tokens");
    for &id in others.iter().filter(|&&id| !listed(id)) {
        assert!(logits[id as usize] < got.floor, "{what}: {id} is not below the floor");
    }
}

#[test]
fn candidates_are_those_of_the_full_product() {
    let needs = [
        Need::Best(1),
        Need::Best(7),
        Need::Best(301),
        Need::Best(999),
        Need::Within(0.5),
        Need::Within(1e9),
        Need::Mass { temperature: 0.7, rest: 1e-4 },
        Need::Mass { temperature: 50.0, rest: 1e-2 },
        Need::All,
    ];
    for (name, w, x) in cases() {
        let expected = stored(&w).matmul(&Cpu::with(sets::portable(), 1), &x);
        for set in sets::available() {
            let cpu = Cpu::with(set, 2);
            let head = Head::new(&cpu, stored(&w), HeadMode::Exact);
            for need in needs {
                let queries: Vec<_> = [vec![], vec![3, 19, 0], (7..w.len() as u32 - 1).collect()]
                    .into_iter()
                    .map(|also| LogitQuery { need, also })
                    .collect();
                for (t, got) in head.candidates(&cpu, &x, &queries).iter().enumerate() {
                    let what = format!("{name}, {need:?}, token {t}, {}", set.name());
                    assert_complete(&what, expected.row(t), &queries[t], got);
                }
            }
        }
    }
}

/// The rows of a step may need different things, and one row's result does not depend on the others.
#[test]
fn mixed_rows_get_what_they_get_alone() {
    let mut random = Random(3);
    let cpu = Cpu::new(2).unwrap();
    let (w, x) = (random.rows(2000, 64), random.rows(11, 64));
    let need = |t: usize| match t % 4 {
        0 => Need::Best(1 + t),
        1 => Need::All,
        2 => Need::Within(2.0),
        _ => Need::Mass { temperature: 1.0, rest: 1e-3 },
    };
    let queries: Vec<_> = (0..11).map(|t| LogitQuery { need: need(t), also: vec![t as u32] }).collect();
    for mode in HeadMode::ALL {
        let head = Head::new(&cpu, stored(&w), mode);
        let together = head.candidates(&cpu, &x, &queries);
        assert_eq!(together.len(), 11);
        for t in 0..11 {
            let alone = head.candidates(&cpu, &x.select(&[t]), &queries[t..=t]);
            assert_eq!(alone[0], together[t], "{} row {t}", mode.name());
            if matches!(mode, HeadMode::Exact | HeadMode::TwoPlane) && t % 4 == 0 {
                assert!(alone[0].ids.len() < 500, "{}: {} of 2000", mode.name(), alone[0].ids.len());
            }
        }
    }
}

#[test]
fn modes_give_the_logits_they_promise() {
    let mut random = Random(4);
    let cpu = Cpu::new(2).unwrap();
    let (w, x) = (random.rows(3000, 128), random.rows(9, 128));
    let exact = stored(&w).matmul(&cpu, &x);
    let logits = |mode| Head::new(&cpu, stored(&w), mode).logits(&cpu, &x);
    assert_eq!(logits(HeadMode::Exact), exact);
    assert_eq!(logits(HeadMode::F16), exact);
    let off = |mode| {
        let rows = logits(mode);
        rows.data().iter().zip(exact.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    let (int8, two_plane) = (off(HeadMode::Int8), off(HeadMode::TwoPlane));
    // The standard deviation of a logit is 11.
    assert!((1e-3..1.0).contains(&int8) && (0.5..9.0).contains(&two_plane), "{int8} {two_plane}");
    let two_plane = logits(HeadMode::TwoPlane);
    for t in 0..9 {
        let best = (0..3000).max_by(|&a, &b| exact.row(t)[a].total_cmp(&exact.row(t)[b])).unwrap();
        assert_eq!(two_plane.row(t)[best], exact.row(t)[best]);
        assert!(two_plane.row(t).iter().all(|l| *l <= exact.row(t)[best]));
    }
}

#[test]
fn int8_logits_are_the_same_bytes_on_every_set() {
    for (name, w, x) in cases() {
        let logits = |set, threads, mode| {
            let cpu = Cpu::with(set, threads);
            let rows = Head::new(&cpu, stored(&w), mode).logits(&cpu, &x);
            rows.data().iter().map(|x| clean(*x).to_bits()).collect::<Vec<_>>()
        };
        for mode in [HeadMode::Int8, HeadMode::TwoPlane] {
            let expected = logits(sets::portable(), 1, mode);
            for set in sets::available() {
                assert!(logits(set, 3, mode) == expected, "{name}: {} {}", mode.name(), set.name());
            }
        }
    }
}
