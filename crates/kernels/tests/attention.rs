//! Attention on every instruction set equals `portable`, byte for byte, and approximately the textbook formula.

mod portable;
mod random;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use sterna_kernels::attention::{self, KvHeads, KvType, Layout, Mask, PAGE, Page, Query};
use sterna_kernels::{Cpu, Rows, sets};

use portable::{against_portable, bits};
use random::Random;

/// Attention in layer 1 on portable. Every set gives the same bytes, for all queries together and for each alone.
fn attend(what: &str, cache: &Cache, queries: &[Query<'_>], q: &Rows) -> Rows {
    let some = |cpu: &Cpu, queries: &[Query<'_>], q: &Rows| {
        attention::attend(cpu, &cache.layout, 1, &cache.pages(cpu), queries, q)
    };
    against_portable(what, |cpu| bits(&[some(cpu, queries, q)]));
    let cpu = Cpu::with(sets::portable(), 1);
    let together = some(&cpu, queries, q);
    for (row, query) in queries.iter().enumerate() {
        let alone = |cpu: &Cpu| bits(&[some(cpu, std::slice::from_ref(query), &q.select(&[row]))]);
        assert!(alone(&cpu) == bits(&[together.select(&[row])]), "{what}: row {row} alone");
        // With several threads a single row is split at its segments.
        against_portable(what, alone);
    }
    together
}

#[test]
fn attention_over_pages() {
    let mut random = Random(5);
    for kind in [KvType::F16, KvType::F32, KvType::Int8] {
        for (head_dim, kv_heads, group) in [(16, 1, 1), (64, 2, 2), (96, 2, 3), (100, 1, 5), (128, 5, 4), (256, 1, 9)] {
            let layout = two_layers(kind, kv_heads, head_dim);
            let cache = Cache::new(layout.clone(), 600, &mut random);
            // A chunk that crosses the end of a page and of a segment, and single rows far apart.
            let at: Vec<usize> = (0..4).chain(250..261).chain([15, 16, 31, 32, 255, 256, 511, 599]).collect();
            let queries: Vec<_> = at.iter().map(|&position| cache.query(Mask::Causal, position)).collect();
            let q = random.rows(at.len(), group * kv_heads * head_dim);
            let what = format!("attention {kind:?} {head_dim} {kv_heads} {group}");
            let together = attend(&what, &cache, &queries, &q);
            match kind {
                KvType::F16 => check_attention(&cache, &queries, &q, &together, &half, 0.0),
                KvType::F32 => check_attention(&cache, &queries, &q, &together, &|x| f64::from(x), 0.0),
                KvType::Int8 => {}
            }
        }
    }
}

/// The error of int8 attention for values of an ordinary spread: each key and query is off by at most half a step of
/// its largest value.
#[test]
fn int8_attention_is_close_to_the_formula() {
    let mut random = Random(6);
    for (head_dim, group) in [(64, 4), (100, 2), (128, 1)] {
        let layout = two_layers(KvType::Int8, 2, head_dim);
        let mut uniform = |rows: usize, dim: usize| {
            let data = (0..rows * dim).map(|_| (random.next() as i32) as f32 / 2f32.powi(30)).collect();
            Rows::from_vec(dim, data)
        };
        let (k, v) = (uniform(300, 2 * head_dim), uniform(300, 2 * head_dim));
        let q = uniform(3, 2 * group * head_dim);
        let cache = Cache::of(layout.clone(), k, v);
        let queries = [0, 40, 299].map(|position| cache.query(Mask::Causal, position));
        let cpu = Cpu::with(sets::portable(), 1);
        let out = attention::attend(&cpu, &layout, 1, &cache.pages(&cpu), &queries, &q);
        check_attention(&cache, &queries, &q, &out, &f64::from, 0.02);
    }
}

/// With the largest codes everywhere, no sum wraps or saturates on any set.
#[test]
fn int8_attention_does_not_wrap() {
    let layout = two_layers(KvType::Int8, 1, 256);
    for (key, value, query) in [(1.0, 1.0, 1.0), (-1.0, -1.0, 1.0), (1.0, -1.0, -1.0), (f32::MAX, 2.0, 1e-3)] {
        let rows = |x: f32| Rows::from_vec(256, vec![x; 512 * 256]);
        let cache = Cache::of(layout.clone(), rows(key), rows(value));
        let queries = [0; 3].map(|_| cache.query(Mask::Causal, 511));
        let q = Rows::from_vec(256, vec![query; 3 * 256]);
        let out = |cpu: &Cpu| attention::attend(cpu, &layout, 1, &cache.pages(cpu), &queries, &q);
        // All weights are equal, and the mean of equal values is that value.
        for x in out(&Cpu::with(sets::portable(), 1)).data() {
            assert!((x - value).abs() < 1e-4 * value.abs(), "{x} for {value}");
        }
        against_portable("int8 extremes", |cpu| bits(&[out(cpu)]));
    }
}

/// Windows that begin inside a segment and inside a page, windows of all lengths up to all positions, and full
/// attention.
#[test]
fn masks_over_pages() {
    let mut random = Random(7);
    for kind in [KvType::F16, KvType::F32, KvType::Int8] {
        for (head_dim, kv_heads, group) in [(64, 2, 2), (100, 1, 5), (32, 1, 9)] {
            let layout = two_layers(kind, kv_heads, head_dim);
            let cache = Cache::new(layout.clone(), 600, &mut random);
            let at: Vec<usize> = (0..4).chain(250..261).chain([31, 32, 288, 300, 511, 512, 599]).collect();
            let q = random.rows(at.len(), group * kv_heads * head_dim);
            for mask in [1, 7, 32, 33, 256, 290, 600].map(Mask::Window).into_iter().chain([Mask::Full]) {
                let queries: Vec<_> = at.iter().map(|&position| cache.query(mask, position)).collect();
                let what = format!("{mask:?} {kind:?} {head_dim} {kv_heads} {group}");
                let together = attend(&what, &cache, &queries, &q);
                if kind == KvType::F16 {
                    check_attention(&cache, &queries, &q, &together, &half, 0.0);
                }
            }
        }
    }
}

/// A window of all positions is causal attention, byte for byte, and what lies before a window is not read.
#[test]
fn windows_do_not_read_what_lies_before_them() {
    let mut random = Random(8);
    for kind in [KvType::F16, KvType::F32, KvType::Int8] {
        let layout = two_layers(kind, 2, 64);
        let cache = Cache::new(layout.clone(), 600, &mut random);
        let q = random.rows(20, 4 * 64);
        let out = |mask: Mask, numbers: &[usize]| {
            let pages = |position| Query { pages: numbers, seen: mask.seen(position, 600) };
            let queries: Vec<_> = (580..600).map(pages).collect();
            let cpu = Cpu::with(sets::portable(), 1);
            bits(&[attention::attend(&cpu, &layout, 1, &cache.pages(&cpu), &queries, &q)])
        };
        assert!(out(Mask::Window(600), &cache.numbers) == out(Mask::Causal, &cache.numbers));
        // Position 481 is the first that any of them sees: it lies in page 15.
        let mut numbers = cache.numbers.clone();
        numbers[..15].fill(usize::MAX);
        assert!(out(Mask::Window(100), &numbers) == out(Mask::Window(100), &cache.numbers));
        assert!(out(Mask::Window(100), &numbers) != out(Mask::Causal, &cache.numbers));
    }
}

/// Layers with different heads, and one without, in one page: each gives what it gives alone.
#[test]
fn layers_may_differ() {
    let mut random = Random(9);
    let heads = [(2, 64), (0, 0), (1, 100), (5, 32)].map(|(count, dim)| KvHeads { count, dim });
    for kind in [KvType::F16, KvType::F32, KvType::Int8] {
        let layout = Layout::new(kind, heads);
        let alone = heads.map(|heads| Layout::new(kind, [heads]));
        assert_eq!(layout.position_bytes(), alone.iter().map(Layout::position_bytes).sum::<usize>());
        assert_eq!(alone[1].position_bytes(), 0);
        let cpu = Cpu::with(sets::portable(), 1);
        let rows: Vec<_> = heads.iter().map(|heads| random.rows(40, (heads.count * heads.dim).max(1))).collect();
        let store = |layout: &Layout, layer: usize, pages: &mut [Page], rows: &Rows| {
            for p in 0..40 {
                attention::store(&cpu, layout, &mut pages[p / PAGE], layer, p % PAGE, rows.row(p), rows.row(p));
            }
        };
        let mut pages = [Page::new(&layout), Page::new(&layout)];
        for (layer, rows) in rows.iter().enumerate() {
            store(&layout, layer, &mut pages, rows);
        }
        for (layer, (heads, only)) in heads.iter().zip(&alone).enumerate().filter(|(_, (heads, _))| heads.count > 0) {
            let mut one = [Page::new(only), Page::new(only)];
            store(only, 0, &mut one, &rows[layer]);
            let q = random.rows(3, 2 * heads.count * heads.dim);
            let queries = [3, 31, 39].map(|position| Query { pages: &[0, 1], seen: 0..position + 1 });
            let [a, b] = [(&layout, layer, &pages), (only, 0, &one)]
                .map(|(layout, layer, pages)| attention::attend(&cpu, layout, layer, pages, &queries, &q));
            assert!(bits(&[a]) == bits(&[b]), "{kind:?}, layer {layer}");
        }
    }
}

/// A page of two layers, of which the tests use the second.
fn two_layers(kind: KvType, count: usize, dim: usize) -> Layout {
    Layout::new(kind, [KvHeads { count: 1, dim: 48 }, KvHeads { count, dim }])
}

/// Keys and values of one sequence in the last layer of a cache.
struct Cache {
    layout: Layout,
    /// By the name of the set that stored them.
    stored: RefCell<HashMap<&'static str, Rc<Vec<Page>>>>,
    numbers: Vec<usize>,
    k: Rows,
    v: Rows,
}

impl Cache {
    fn new(layout: Layout, positions: usize, random: &mut Random) -> Self {
        let dim = layout.heads(1).count * layout.heads(1).dim;
        let (k, v) = (random.rows(positions, dim), random.rows(positions, dim));
        Self::of(layout, k, v)
    }

    fn of(layout: Layout, k: Rows, v: Rows) -> Self {
        let count = k.len().div_ceil(PAGE);
        // The pages of the sequence are out of order in the cache.
        let numbers: Vec<usize> = (0..count).rev().collect();
        Self { layout, stored: RefCell::default(), numbers, k, v }
    }

    fn query(&self, mask: Mask, position: usize) -> Query<'_> {
        Query { pages: &self.numbers, seen: mask.seen(position, self.k.len()) }
    }

    /// The pages as this set stores them.
    fn pages(&self, cpu: &Cpu) -> Rc<Vec<Page>> {
        let Self { layout, numbers, k, v, .. } = self;
        if let Some(pages) = self.stored.borrow().get(cpu.isa().name()) {
            return pages.clone();
        }
        let mut pages: Vec<Page> = numbers.iter().map(|_| Page::new(layout)).collect();
        for p in 0..k.len() {
            let page = &mut pages[numbers[p / PAGE]];
            attention::store(cpu, layout, page, 1, p % PAGE, k.row(p), v.row(p));
        }
        let pages = Rc::new(pages);
        self.stored.borrow_mut().insert(cpu.isa().name(), pages.clone());
        pages
    }
}

fn half(x: f32) -> f64 {
    f64::from(sterna_kernels::math::f16_to_f32(sterna_kernels::math::f32_to_f16(x)))
}

/// Compares attention with the textbook formula in `f64`, on the cache's values as `kept` reads them. `slack` is the
/// additional error that the cache may cause.
fn check_attention(cache: &Cache, queries: &[Query<'_>], q: &Rows, out: &Rows, kept: &dyn Fn(f32) -> f64, slack: f64) {
    let (k, v, KvHeads { count, dim }) = (&cache.k, &cache.v, cache.layout.heads(1));
    let heads = q.dim() / dim;
    for (row, query) in queries.iter().enumerate() {
        for head in 0..heads {
            let kv = head / (heads / count) * dim;
            let q = &q.row(row)[head * dim..(head + 1) * dim];
            let score = |p: usize| -> f64 {
                let dot: f64 = (0..dim).map(|i| f64::from(q[i]) * kept(k.row(p)[kv + i])).sum();
                dot / (dim as f64).sqrt()
            };
            let scores: Vec<f64> = query.seen.clone().map(score).collect();
            let products = |p: usize| -> f64 {
                (0..dim).map(|i| (f64::from(q[i]) * kept(k.row(p)[kv + i])).abs()).sum::<f64>() / (dim as f64).sqrt()
            };
            let largest = query.seen.clone().map(products).fold(0.0, f64::max);
            let max = scores.iter().copied().fold(f64::MIN, f64::max);
            let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
            for i in 0..dim {
                let terms =
                    query.seen.clone().zip(&scores).map(|(p, s)| (s - max).exp() / sum * kept(v.row(p)[kv + i]));
                let (exact, size): (f64, f64) = terms.fold((0.0, 1e-3), |(a, b), t| (a + t, b + t.abs()));
                let got = f64::from(out.row(row)[head * dim + i]);
                // The products of a score reach 10⁸ with the special values, where f32 has no digits left after the
                // point, also if they cancel in the sum: then any weights are right, and a weighted mean lies among the
                // values.
                let digits = 1e-4 + largest * 1e-6;
                assert!(digits > 1.0 || (got - exact).abs() <= size * digits + slack, "head {head}: {got} for {exact}");
                let values = query.seen.clone().map(|p| kept(v.row(p)[kv + i]));
                let (least, most) = values.fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
                let room = 1e-3 * (least.abs() + most.abs()) + slack + 1e-6;
                assert!((least - room..=most + room).contains(&got), "head {head}: {got} not in {least} to {most}");
            }
        }
    }
}
