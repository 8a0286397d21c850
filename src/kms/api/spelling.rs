//! How a dialect spells the values of an enumeration.

/// Each value with its name; of several names the first is the one that is given out.
pub(super) struct Spelling<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Copy + PartialEq> Spelling<T> {
    /// The value of this name.
    pub(super) fn value(&self, name: &str) -> Option<T> {
        let found = self.0.iter().find(|(other, _value)| *other == name);
        found.map(|(_name, value)| *value)
    }

    /// The name of a value. Each table has all values that its dialect gives out.
    pub(super) fn name(&self, value: T) -> &'static str {
        let found = self.0.iter().find(|(_name, other)| *other == value);
        found.map_or("", |(name, _value)| name)
    }
}
