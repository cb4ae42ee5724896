//! Named numbers of one endpoint: custom metrics, and what sources other than the metrics page bring.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use arc_swap::ArcSwap;

/// Most names that one endpoint keeps; what comes later is dropped.
const MAX_NAMES: usize = 64;

/// Numbers by name (`attribute/producer`). Few names, written by sources, read by everybody without a lock.
#[derive(Debug)]
pub struct Numbers {
    cells: ArcSwap<Vec<Arc<Cell>>>,
}

#[derive(Debug)]
struct Cell {
    name: Arc<str>,
    /// Bits of the number; NaN: there is none.
    bits: AtomicU64,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { cells: ArcSwap::from_pointee(Vec::new()) }
    }
}

impl Numbers {
    /// The number of this name, if it is known.
    pub fn get(&self, name: &str) -> Option<f64> {
        let cells = self.cells.load();
        let cell = cells.iter().find(|cell| &*cell.name == name)?;
        let number = f64::from_bits(cell.bits.load(Relaxed));
        (!number.is_nan()).then_some(number)
    }

    /// Publishes a number, or that it is no longer known.
    pub fn set(&self, name: &str, number: Option<f64>) {
        let bits = number.unwrap_or(f64::NAN).to_bits();
        if let Some(cell) = self.cells.load().iter().find(|cell| &*cell.name == name) {
            cell.bits.store(bits, Relaxed);
            return;
        }
        if number.is_none() {
            return;
        }
        let cell = Arc::new(Cell { name: name.into(), bits: AtomicU64::new(bits) });
        self.cells.rcu(|cells| {
            let mut cells = Vec::clone(cells);
            match cells.iter().find(|other| other.name == cell.name) {
                Some(other) => other.bits.store(bits, Relaxed),
                None if cells.len() < MAX_NAMES => cells.push(Arc::clone(&cell)),
                None => {}
            }
            cells
        });
    }

    /// Names and numbers that are known, for people.
    pub fn list(&self) -> Vec<(Arc<str>, f64)> {
        let cells = self.cells.load();
        let known = cells.iter().map(|cell| (Arc::clone(&cell.name), f64::from_bits(cell.bits.load(Relaxed))));
        known.filter(|(_, number)| !number.is_nan()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_change_and_go() {
        let numbers = Numbers::default();
        numbers.set("a/x", None);
        assert_eq!(numbers.get("a/x"), None);
        numbers.set("a/x", Some(1.5));
        numbers.set("b/x", Some(0.0));
        numbers.set("a/x", Some(-2.0));
        assert_eq!((numbers.get("a/x"), numbers.get("b/x"), numbers.get("a")), (Some(-2.0), Some(0.0), None));
        numbers.set("a/x", None);
        assert_eq!(numbers.list(), [("b/x".into(), 0.0)]);
    }

    #[test]
    fn their_number_is_bounded() {
        let numbers = Numbers::default();
        for i in 0..MAX_NAMES + 10 {
            numbers.set(&format!("n{i}"), Some(1.0));
        }
        assert_eq!(numbers.list().len(), MAX_NAMES);
    }
}
