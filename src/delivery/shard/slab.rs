//! Slots by number, in pieces that stay where they are: growing moves nothing, and leaves no hole in memory behind.

/// A slot's number, with which of its tenants is meant: numbers are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotId {
    pub(super) index: u32,
    pub(super) tenancy: u32,
}

impl SlotId {
    /// As one number, for the kernel.
    pub(super) fn token(self) -> u64 {
        u64::from(self.index) << 32 | u64::from(self.tenancy)
    }

    /// What [`SlotId::token`] made.
    pub(super) fn of(token: u64) -> Self {
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        Self { index: half(token >> 32), tenancy: half(token) }
    }
}

/// The slots of one shard.
#[derive(Debug)]
pub(super) struct Slab<T> {
    pieces: Vec<Box<[Place<T>]>>,
    free: Vec<u32>,
    taken: usize,
    tenancies: u32,
}

#[derive(Debug)]
struct Place<T> {
    tenant: Option<T>,
    tenancy: u32,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { pieces: Vec::new(), free: Vec::new(), taken: 0, tenancies: 0 }
    }
}

impl<T> Slab<T> {
    /// Slots a piece.
    const PIECE: usize = 128;

    /// Puts a tenant into a free slot.
    pub(super) fn insert(&mut self, tenant: T) -> SlotId {
        if self.free.is_empty() {
            self.grow();
        }
        let index = self.free.pop().expect("a piece of free slots was just added");
        self.taken += 1;
        self.tenancies = self.tenancies.wrapping_add(1);
        let tenancy = self.tenancies;
        *self.place_mut(index).expect("free slots exist") = Place { tenant: Some(tenant), tenancy };
        SlotId { index, tenancy }
    }

    fn grow(&mut self) {
        let first = self.pieces.len() * Self::PIECE;
        self.pieces.push((0..Self::PIECE).map(|_| Place { tenant: None, tenancy: 0 }).collect());
        let numbers = (first..first + Self::PIECE).rev();
        self.free.extend(numbers.map(|number| u32::try_from(number).expect("there are fewer sockets than that")));
    }

    /// The tenant of a slot now, whoever it is.
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.place_mut(index)?.tenant.as_mut()
    }

    /// That very tenant, if it is still there.
    pub(super) fn tenant_mut(&mut self, id: SlotId) -> Option<&mut T> {
        let place = self.place_mut(id.index)?;
        if place.tenancy == id.tenancy { place.tenant.as_mut() } else { None }
    }

    /// Which tenant is there now.
    pub(super) fn id(&self, index: u32) -> Option<SlotId> {
        let index_in = index as usize;
        let place = self.pieces.get(index_in / Self::PIECE)?.get(index_in % Self::PIECE)?;
        place.tenant.as_ref().map(|_| SlotId { index, tenancy: place.tenancy })
    }

    /// Takes the tenant out.
    pub(super) fn remove(&mut self, index: u32) -> Option<T> {
        let place = self.place_mut(index)?;
        let tenant = place.tenant.take()?;
        self.taken -= 1;
        self.free.push(index);
        if self.taken == 0 {
            *self = Self { tenancies: self.tenancies, ..Self::default() }; // Gives its memory back.
        }
        Some(tenant)
    }

    fn place_mut(&mut self, index: u32) -> Option<&mut Place<T>> {
        let index = index as usize;
        self.pieces.get_mut(index / Self::PIECE)?.get_mut(index % Self::PIECE)
    }

    /// The tenants of a piece, if there are so many pieces.
    pub(super) fn piece(&self, number: usize) -> Option<impl Iterator<Item = &T>> {
        self.pieces.get(number).map(|piece| piece.iter().filter_map(|place| place.tenant.as_ref()))
    }

    /// The numbers of all slots that have a tenant.
    pub(super) fn indices(&self) -> Vec<u32> {
        let places = self.pieces.iter().flatten().zip(0..);
        places.filter(|(place, _)| place.tenant.is_some()).map(|(_, index)| index).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_is_used_again_is_another() {
        let mut slab = Slab::default();
        let (a, b) = (slab.insert("a"), slab.insert("b"));
        assert_eq!(slab.tenant_mut(a), Some(&mut "a"));
        assert_eq!(slab.tenant_mut(b), Some(&mut "b"));
        assert_eq!(slab.remove(a.index), Some("a"));
        assert_eq!(slab.remove(a.index), None);
        let c = slab.insert("c");
        assert_eq!(c.index, a.index);
        assert_eq!(slab.tenant_mut(a), None);
        assert_eq!(slab.tenant_mut(c), Some(&mut "c"));
        assert_eq!(SlotId::of(c.token()), c);
        assert_eq!(slab.id(c.index), Some(c));
        assert_eq!(slab.indices(), [0, 1]);
        assert_eq!(slab.piece(0).map(|tenants| tenants.copied().collect()), Some(vec!["c", "b"]));
        assert!(slab.piece(1).is_none());
        slab.remove(c.index);
        slab.remove(b.index);
        let d = slab.insert("d");
        assert!(slab.tenant_mut(a).is_none() && slab.tenant_mut(c).is_none(), "also when all of them had gone");
        assert_eq!(slab.tenant_mut(d), Some(&mut "d"));
    }
}
