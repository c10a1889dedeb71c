//! The tile registers of AMX. Source: Intel's manual, volume 1, "Programming with Intel AMX".

use std::arch::asm;

/// The eight tile registers, configured with rows of 64 bytes until this value is dropped.
pub(super) struct Configured(());

impl Configured {
    /// Configures each register with the given number of rows, 1 to 16.
    ///
    /// # Safety
    /// The CPU has tile registers, and the operating system has permitted them: the set's `supported` returned true.
    #[inline(always)]
    pub unsafe fn new(rows: [usize; 8]) -> Self {
        #[repr(C, align(64))]
        struct Config([u8; 64]);
        let mut config = Config([0; 64]);
        config.0[0] = 1;
        for tile in 0..8 {
            assert!((1..=16).contains(&rows[tile]));
            config.0[16 + 2 * tile] = 64;
            config.0[48 + tile] = rows[tile] as u8;
        }
        // SAFETY: the caller vouches for the registers. The 64 bytes are a valid configuration (palette 1: bytes per
        // row from byte 16, rows from byte 48).
        unsafe { asm!("ldtilecfg [{}]", in(reg) &config, options(nostack, readonly, preserves_flags)) }
        Self(())
    }
}

impl Drop for Configured {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: `new` loaded a configuration, so the registers exist. Released tiles are not saved at a context
        // switch.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
    }
}
