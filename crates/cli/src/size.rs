//! Sizes on the command line.

use crate::output::Misuse;

/// A number of bytes, or of KiB, MiB, GiB or TiB by the letters K, M, G or T.
pub fn bytes(option: &str, size: &str) -> Result<u64, Misuse> {
    let wrong = || Misuse(format!("{option} is {size:?}; it must be a size above 0, as in 8G or 500M"));
    let upper = size.trim().to_ascii_uppercase();
    let number = upper.trim_end_matches("IB").trim_end_matches('B');
    let (number, shift) = match number.char_indices().next_back() {
        Some((at, 'K')) => (&number[..at], 10),
        Some((at, 'M')) => (&number[..at], 20),
        Some((at, 'G')) => (&number[..at], 30),
        Some((at, 'T')) => (&number[..at], 40),
        _ => (number, 0),
    };
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    let bytes = number * (1_u64 << shift) as f64;
    if (1.0..1e18).contains(&bytes) { Ok(bytes as u64) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (size, expected) in
            [("1", 1), ("2k", 2 << 10), ("500M", 500 << 20), ("1.5G", 3 << 29), ("8GiB", 8 << 30), ("1 TB", 1 << 40)]
        {
            assert_eq!(bytes("--memory", size).ok(), Some(expected), "{size}");
        }
        for size in ["", "G", "0", "-1G", "8X", "8 G B", "nan", "inf", "1e30", "é"] {
            assert!(bytes("--memory", size).is_err(), "{size}");
        }
    }
}
