//! Where a block lies.

use std::fmt;

/// A kind of memory that holds blocks, nearest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Tier {
    /// The accelerator's memory.
    #[default]
    Gpu = 0,
    /// The host's memory.
    Cpu = 1,
    /// A disk of the host.
    Disk = 2,
    /// A store that several hosts read.
    Shared = 3,
    /// A medium that none of the others is.
    Other = 4,
    /// Nowhere yet: a request that will put it there is on its way.
    Speculative = 5,
}

impl Tier {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Gpu, Self::Cpu, Self::Disk, Self::Shared, Self::Other, Self::Speculative];

    /// The tier that an engine's events mean by a medium, in any case; none or empty: the accelerator.
    pub fn of_medium(medium: Option<&str>) -> Self {
        const NAMES: [(&str, Tier); 14] = [
            ("gpu", Tier::Gpu),
            ("cpu", Tier::Cpu),
            ("cpu_pinned", Tier::Cpu),
            ("host", Tier::Cpu),
            ("dram", Tier::Cpu),
            ("disk", Tier::Disk),
            ("ssd", Tier::Disk),
            ("storage", Tier::Disk),
            ("shared", Tier::Shared),
            ("shared_storage", Tier::Shared),
            ("object_store", Tier::Shared),
            ("external", Tier::Shared),
            ("remote", Tier::Shared),
            ("speculative", Tier::Speculative),
        ];
        match medium {
            None | Some("") => Self::Gpu,
            Some(name) => NAMES.iter().find(|(one, _)| name.eq_ignore_ascii_case(one)).map_or(Self::Other, |(_, tier)| *tier),
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gpu => "gpu",
            Self::Cpu => "cpu",
            Self::Disk => "disk",
            Self::Shared => "shared",
            Self::Other => "other",
            Self::Speculative => "speculative",
        }
    }

    /// The set of this tier alone.
    pub const fn bit(self) -> Tiers {
        Tiers(1 << self as u8)
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of tiers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tiers(pub(crate) u8);

impl Tiers {
    /// No tier.
    pub const NONE: Self = Self(0);
    /// All tiers.
    pub const ALL: Self = Self((1 << Tier::ALL.len()) - 1);

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `tier` is in it.
    pub const fn contains(self, tier: Tier) -> bool {
        self.0 & tier.bit().0 != 0
    }

    /// Whether some tier is in both.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// This and `tier`.
    #[must_use]
    pub const fn with(self, tier: Tier) -> Self {
        Self(self.0 | tier.bit().0)
    }

    /// This without `tier`.
    #[must_use]
    pub const fn without(self, tier: Tier) -> Self {
        Self(self.0 & !tier.bit().0)
    }

    /// Its tiers, nearest first.
    pub fn iter(self) -> impl Iterator<Item = Tier> {
        Tier::ALL.into_iter().filter(move |tier| self.contains(*tier))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_of_engines() {
        for (medium, tier) in [
            (None, Tier::Gpu),
            (Some(""), Tier::Gpu),
            (Some("GPU"), Tier::Gpu),
            (Some("CPU"), Tier::Cpu),
            (Some("CPU_PINNED"), Tier::Cpu),
            (Some("DISK"), Tier::Disk),
            (Some("STORAGE"), Tier::Disk),
            (Some("SHARED_STORAGE"), Tier::Shared),
            (Some("OBJECT_STORE"), Tier::Shared),
            (Some("EXTERNAL"), Tier::Shared),
            (Some("REMOTE"), Tier::Shared),
            (Some("tape"), Tier::Other),
        ] {
            assert_eq!(Tier::of_medium(medium), tier, "{medium:?}");
        }
        let set = Tier::Gpu.bit().with(Tier::Disk);
        assert_eq!(set.iter().collect::<Vec<_>>(), [Tier::Gpu, Tier::Disk]);
        assert!(set.without(Tier::Gpu).without(Tier::Disk).is_empty());
        assert!(Tier::ALL.into_iter().all(|tier| Tiers::ALL.contains(tier)));
    }
}
