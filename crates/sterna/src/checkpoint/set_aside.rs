//! Tensors that a file has beside its language model, and that are passed over.

/// A part beside the language model.
struct Part {
    /// What it is.
    what: &'static str,
    /// How the names of its tensors begin.
    starts: &'static [&'static str],
    /// What their names contain.
    inside: &'static str,
    /// What does not happen without it.
    without: &'static str,
}

const PARTS: [Part; 2] = [
    Part {
        what: "a vision tower",
        starts: &["vision_tower.", "model.vision_tower.", "model.visual.", "visual.", "v.blk.", "mm."],
        inside: ".vision_tower.",
        without: "pictures are not read",
    },
    Part {
        what: "a layer that drafts tokens (MTP)",
        starts: &["mtp.", "model.mtp."],
        inside: ".nextn.",
        without: "drafts come from the text so far",
    },
];

impl Part {
    fn has(&self, tensor: &str) -> bool {
        self.starts.iter().any(|start| tensor.starts_with(start)) || tensor.contains(self.inside)
    }
}

/// The names without those of such parts, and a remark about each part.
pub(super) fn set_aside<'a>(names: impl Iterator<Item = &'a str>) -> (Vec<&'a str>, Vec<String>) {
    let mut counts = [0; PARTS.len()];
    let kept = names.filter(|name| match PARTS.iter().position(|part| part.has(name)) {
        Some(part) => {
            counts[part] += 1;
            false
        }
        None => true,
    });
    let kept = kept.collect();
    let found = PARTS.iter().zip(counts).filter(|(_, count)| *count > 0);
    let remarks = found.map(|(Part { what, without, .. }, count)| {
        let plural = if count == 1 { "" } else { "s" };
        format!("{what} is passed over ({count} tensor{plural}): {without}")
    });
    (kept, remarks.collect())
}
