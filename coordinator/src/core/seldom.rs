//! Collections that are empty in most jobs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::{Deref, DerefMut};

use rangemap::{RangeMap, RangeSet};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A collection that takes no more than a pointer while it is empty. It is used and written as what is in it.
#[derive(Clone)]
pub struct Seldom<T>(Option<Box<T>>);

/// A collection of which there is an empty one for all to look at.
pub trait Collection: Default + PartialEq + 'static {
    /// It.
    const EMPTY: &'static Self;
}

impl<T: PartialEq + 'static> Collection for Vec<T> {
    const EMPTY: &'static Self = &Self::new();
}

impl<T: PartialEq + 'static> Collection for BTreeSet<T> {
    const EMPTY: &'static Self = &Self::new();
}

impl<K: PartialEq + 'static, V: PartialEq + 'static> Collection for BTreeMap<K, V> {
    const EMPTY: &'static Self = &Self::new();
}

impl<T: Clone + Ord + 'static> Collection for RangeSet<T> {
    const EMPTY: &'static Self = &Self::new();
}

impl<K: Clone + Ord + 'static, V: Clone + Eq + 'static> Collection for RangeMap<K, V> {
    const EMPTY: &'static Self = &Self::new();
}

impl<T> Default for Seldom<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Collection> From<T> for Seldom<T> {
    fn from(all: T) -> Self {
        Self((all != *T::EMPTY).then(|| Box::new(all)))
    }
}

impl<T: Collection> Seldom<T> {
    /// Takes something out, when there is something; memory is given back with the last of it.
    pub fn cut<R>(&mut self, out: impl FnOnce(&mut T) -> R) -> Option<R> {
        let found = out(self.0.as_deref_mut()?);
        if **self == *T::EMPTY {
            self.0 = None;
        }
        Some(found)
    }

    /// Takes all out.
    pub fn take(&mut self) -> T {
        self.0.take().map_or_else(T::default, |all| *all)
    }
}

impl<T: Collection> Deref for Seldom<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::EMPTY)
    }
}

impl<T: Collection> DerefMut for Seldom<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: Collection> PartialEq for Seldom<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Collection + Eq> Eq for Seldom<T> {}

impl<T: Collection + fmt::Debug> fmt::Debug for Seldom<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Collection + Serialize> Serialize for Seldom<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de, T: Collection + Deserialize<'de>> Deserialize<'de> for Seldom<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_one_takes_a_pointer_and_is_like_any_empty_one() {
        assert_eq!(size_of::<Seldom<BTreeMap<u32, String>>>(), size_of::<usize>());
        let mut one = Seldom::from(vec![1]);
        assert_eq!(one.iter().sum::<i32>(), 1);
        one.pop();
        assert_eq!(one, Seldom::from(Vec::new()));
        assert_eq!((one.cut(Vec::pop), one.0.is_none()), (Some(None), true));
        assert_eq!((one.cut(Vec::pop), one.take()), (None, Vec::new()));
        one.push(2);
        let bytes = rmp_serde::to_vec(&one).unwrap();
        assert_eq!(bytes, rmp_serde::to_vec(&[2]).unwrap());
        assert_eq!(rmp_serde::from_slice::<Seldom<Vec<i32>>>(&bytes).unwrap(), one);
    }
}
