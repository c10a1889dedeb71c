//! Sterna's own exp, ln, sin and cos. System math libraries round differently, and logits must not depend on the
//! machine. Only IEEE add, multiply and divide are used, in a fixed order.

/// Adding and subtracting 1.5 · 2²³ rounds an `f32` below 2²² to the nearest integer, ties to even.
pub(crate) const ROUND: f32 = 12_582_912.0;
/// 1.5 · 2⁵² rounds an `f64` the same way.
const ROUND64: f64 = 6_755_399_441_055_744.0;
const LN2_HI: f32 = 0.693_359_4;
const LN2_LO: f32 = -2.121_944_4e-4;

/// e^x within 2 ulp for x in −87…88; x outside is clamped to this range.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let x = if x > -87.0 { x } else { -87.0 };
    let x = if x < 88.0 { x } else { 88.0 };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HI) - n * LN2_LO;
    let mut p = 1.987_569_2e-4_f32;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let p = (p * (r * r) + r) + 1.0;
    // The low bits of `shifted` are the integer n.
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    p * f32::from_bits(exponent)
}

/// e^x in `f64`, within 2 ulp for |x| < 700.
pub fn exp64(x: f64) -> f64 {
    let n = (x * std::f64::consts::LOG2_E + ROUND64) - ROUND64;
    let r = (x - n * 0.693_147_180_369_123_8) - n * 1.908_214_929_270_587_7e-10;
    // Taylor series up to r¹³: |r| ≤ 0.35, so the remainder is below 2⁻⁵³.
    let p = (1..=13).rev().fold(1.0, |p, k| p * r / f64::from(k) + 1.0);
    p * f64::from_bits(((n as i64 + 1023) as u64) << 52)
}

/// Natural logarithm in `f64` of a normal positive number, within 2 ulp.
pub fn ln64(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut m = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        exponent += 1;
    }
    // ln m = 2 (s + s³/3 + s⁵/5 + …), s = (m−1)/(m+1), |s| < 0.172
    let s = (m - 1.0) / (m + 1.0);
    let s2 = s * s;
    let series = (0..=11).rev().fold(0.0, |p, k| p * s2 + 1.0 / f64::from(2 * k + 1));
    let n = exponent as f64;
    n * 0.693_147_180_369_123_8 + (2.0 * s * series + n * 1.908_214_929_270_587_7e-10)
}

/// `base` to the power of `exponent`, for a normal positive base.
pub fn pow64(base: f64, exponent: f64) -> f64 {
    exp64(exponent * ln64(base))
}

/// (sin x, cos x) of an angle in radians, |x| < 10⁶, rounded to `f32` from `f64`.
pub fn sin_cos(x: f32) -> (f32, f32) {
    let x = f64::from(x);
    let quarter = (x * std::f64::consts::FRAC_2_PI + ROUND64) - ROUND64;
    // π/2 in two parts (fdlibm), the first with 33 bits: quarter · first is exact.
    let r = (x - quarter * 1.570_796_326_734_125_6) - quarter * 6.077_100_506_506_192e-11;
    let r2 = r * r;
    let series = |first: i32| {
        (0..8).rev().fold(1.0, |p, k| {
            let n = f64::from(2 * k + first);
            1.0 - p * r2 / ((n + 1.0) * (n + 2.0))
        })
    };
    let (sin, cos) = (r * series(1), series(0));
    let (sin, cos) = match quarter as i64 & 3 {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    };
    (sin as f32, cos as f32)
}

/// The `f32` of an f16. Infinities and NaNs are read as the finite numbers that their exponent continues to (±65536 and
/// beyond), so no f16 becomes an infinity.
#[inline(always)]
pub fn f16_to_f32(half: u16) -> f32 {
    // After the shift the exponent is 112 too small; the product is exact, also for subnormals.
    let magnitude = f32::from_bits(u32::from(half & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(magnitude.to_bits() | u32::from(half & 0x8000) << 16)
}

/// The f16 nearest to `x`, ties to even. Values beyond ±65504 and NaN become the largest finite f16.
#[inline(always)]
pub fn f32_to_f16(x: f32) -> u16 {
    let sign = (x.to_bits() >> 16 & 0x8000) as u16;
    let magnitude = f32::from_bits(x.to_bits() & 0x7fff_ffff);
    let magnitude = if magnitude < 65504.0 { magnitude } else { 65504.0 };
    // Subnormal f16: adding 2⁻¹⁴·2¹⁰ = 0.5·… aligns the value so that the float adder rounds at 2⁻²⁴.
    let aligned = (magnitude + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let bits = magnitude.to_bits();
    // Normal f16: round at bit 13 (to even), then move the exponent by 112.
    let rounded = (bits.wrapping_add(0xfff + (bits >> 13 & 1)) >> 13).wrapping_sub(112 << 10);
    let half = if magnitude < 6.103_515_6e-5 { aligned } else { rounded };
    sign | half as u16
}

/// The exact `f32` of a bf16.
#[inline(always)]
pub fn bf16_to_f32(x: u16) -> f32 {
    f32::from_bits(u32::from(x) << 16)
}

/// The bf16 nearest to `x`, ties to even. NaN stays NaN.
#[inline(always)]
pub fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let nearest = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    // A carry must not turn a NaN into an infinity.
    if x.is_nan() { (bits >> 16) as u16 | 0x40 } else { nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_to_the_exact_value() {
        for i in -8_700..8_800 {
            let x = i as f32 / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) - exact).abs() < exact * 2.5e-7, "exp({x}) = {}", exp(x));
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), exp(-87.0));
    }

    #[test]
    fn f64_functions_are_close_to_the_system_ones() {
        for i in 1..2_000 {
            let x = f64::from(i) * 7.31;
            assert!((ln64(x) - x.ln()).abs() <= 4e-16 * x.ln().abs().max(1.0), "ln({x})");
            let y = f64::from(i - 1_000) / 9.7;
            assert!((exp64(y) - y.exp()).abs() <= 1e-15 * y.exp(), "exp({y})");
        }
        assert!((pow64(500_000.0, -0.5) - 500_000f64.powf(-0.5)).abs() < 1e-18);
    }

    #[test]
    fn sin_cos_round_like_the_exact_value() {
        for i in 0..200_000 {
            let x = i as f32 * 0.37;
            let (sin, cos) = sin_cos(x);
            assert!((f64::from(sin) - f64::from(x).sin()).abs() < 6e-8, "sin({x}) = {sin}");
            assert!((f64::from(cos) - f64::from(x).cos()).abs() < 6e-8, "cos({x}) = {cos}");
        }
    }

    #[test]
    fn every_finite_half_survives_a_round_trip() {
        for half in (0..=u16::MAX).filter(|h| h & 0x7c00 != 0x7c00) {
            assert_eq!(f32_to_f16(f16_to_f32(half)), half, "{half:#06x} = {}", f16_to_f32(half));
        }
        assert_eq!(f16_to_f32(0x3c00), 1.0);
        assert_eq!(f16_to_f32(0x0001), 2f32.powi(-24));
        assert_eq!(f32_to_f16(1e9), 0x7bff);
        // A value halfway between two f16 rounds to the even one, in the normal and in the subnormal range.
        assert_eq!(f32_to_f16(1.0 + 2f32.powi(-11)), 0x3c00);
        assert_eq!(f32_to_f16(1.0 + 3.0 * 2f32.powi(-11)), 0x3c02);
        assert_eq!(f32_to_f16(1.5 * 2f32.powi(-24)), 2);
        assert_eq!(f32_to_f16(0.5 * 2f32.powi(-24)), 0);
    }

    #[test]
    fn bf16_is_the_nearest_one() {
        for bits in (0..=u32::MAX).step_by(4099) {
            let x = f32::from_bits(bits);
            let rounded = bf16_to_f32(f32_to_bf16(x));
            assert_eq!(rounded.is_nan(), x.is_nan(), "{x}");
            if !x.is_finite() || !rounded.is_finite() {
                assert!(x.is_nan() || rounded == x || x.abs() > bf16_to_f32(0x7f7f), "{x}");
                continue;
            }
            // Adjacent values differ by one step of the last of 8 bits.
            let step = f64::from(f32::from_bits(rounded.to_bits() & 0x7f80_0000).max(f32::MIN_POSITIVE)) / 128.0;
            let error = (f64::from(x) - f64::from(rounded)).abs();
            assert!(error <= step / 2.0 && (error < step / 2.0 || f32_to_bf16(x) & 1 == 0), "{x} became {rounded}");
        }
        let ties = [(0x3f80_8000, 0x3f80), (0x3f81_8000, 0x3f82), (0x0000_8000, 0), (0x7f7f_8000, 0x7f80)];
        for (bits, expected) in ties {
            assert_eq!(f32_to_bf16(f32::from_bits(bits)), expected, "{bits:#x}");
        }
        assert!(bf16_to_f32(f32_to_bf16(f32::from_bits(0x7f80_0001))).is_nan());
    }
}
