//! Which of many numbered things have been touched.

/// A list without repetition, and whether a number is in it.
#[derive(Default)]
pub struct Marks {
    marked: Vec<bool>,
    list: Vec<u32>,
}

impl Marks {
    /// Adds a number; says whether it was not there.
    pub fn mark(&mut self, number: usize) -> bool {
        if number >= self.marked.len() {
            self.marked.resize(number + 1, false);
        }
        let new = !std::mem::replace(&mut self.marked[number], true);
        if new {
            self.list.push(number as u32);
        }
        new
    }

    /// The numbers, in the order in which they were first added.
    pub fn list(&self) -> &[u32] {
        &self.list
    }

    /// Takes all numbers out.
    pub fn take(&mut self) -> Vec<u32> {
        let list = std::mem::take(&mut self.list);
        list.iter().for_each(|number| self.marked[*number as usize] = false);
        list
    }

    /// The bytes it holds.
    pub fn bytes(&self) -> usize {
        self.marked.capacity() + self.list.capacity() * size_of::<u32>()
    }

    /// Starts afresh: the things have new numbers.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}
