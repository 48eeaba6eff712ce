//! Which job is in which file, which files are to be merged, and which are to go. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use thalweg_graph::JobId;

use super::segment::Entry;
use crate::view::JobSummary;

/// Files of about the same number of jobs that are merged: with a few hundred jobs a file, each job is written three or four times.
const MERGED_FILES: usize = 8;
/// Longest file, as far as it is made of more than one.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What there is. Files are named so that they sort by their time.
#[derive(Debug, Default)]
pub struct Catalogue {
    files: BTreeMap<String, File>,
    /// Files that cannot be read.
    damaged: BTreeSet<String>,
    /// The newest file that each job is in.
    jobs: HashMap<JobId, String>,
}

#[derive(Debug)]
struct File {
    bytes: u64,
    entries: Vec<Entry>,
}

impl Catalogue {
    /// A file is there.
    pub fn add(&mut self, name: String, bytes: u64, entries: Vec<Entry>) {
        for entry in &entries {
            let newest = self.jobs.entry(entry.summary.job).or_default();
            if *newest < name {
                newest.clone_from(&name);
            }
        }
        self.files.insert(name, File { bytes, entries });
    }

    /// A file cannot be read: nobody is to try again.
    pub fn add_damaged(&mut self, name: String) {
        self.damaged.insert(name);
    }

    /// A file is there no more. Its jobs may be in another one.
    pub fn remove(&mut self, name: &str) {
        self.damaged.remove(name);
        let Some(file) = self.files.remove(name) else { return };
        for entry in file.entries {
            let job = entry.summary.job;
            if self.jobs.get(&job).is_some_and(|newest| newest == name) {
                let has = |file: &File| file.entries.iter().any(|entry| entry.summary.job == job);
                match self.files.iter().rev().find(|(_, file)| has(file)) {
                    Some((other, _)) => drop(self.jobs.insert(job, other.clone())),
                    None => drop(self.jobs.remove(&job)),
                }
            }
        }
    }

    /// Takes over which files there are; returns those that are new.
    pub fn compare(&mut self, names: &[String]) -> Vec<String> {
        let there: BTreeSet<&String> = names.iter().collect();
        let known = self.files.keys().chain(&self.damaged);
        let gone: Vec<String> = known.filter(|name| !there.contains(name)).cloned().collect();
        gone.iter().for_each(|name| self.remove(name));
        let is_new = |name: &&String| !self.files.contains_key(*name) && !self.damaged.contains(*name);
        names.iter().filter(is_new).cloned().collect()
    }

    /// Where a job is.
    pub fn find(&self, job: JobId) -> Option<(&str, &Entry)> {
        let name = self.jobs.get(&job)?;
        let entry = self.files.get(name)?.entries.iter().find(|entry| entry.summary.job == job)?;
        Some((name, entry))
    }

    /// A line of each job.
    pub fn summaries(&self) -> Vec<JobSummary> {
        let mut summaries = Vec::with_capacity(self.jobs.len());
        for (name, file) in &self.files {
            let newest = file.entries.iter().filter(|entry| self.jobs.get(&entry.summary.job) == Some(name));
            summaries.extend(newest.map(|entry| entry.summary.clone()));
        }
        summaries
    }

    /// Files that are to be one.
    pub fn to_merge(&self) -> Option<Vec<String>> {
        let mut tiers = BTreeMap::<u32, (u64, Vec<&String>)>::new();
        for (name, file) in &self.files {
            let tier = file.entries.len().max(1).ilog(MERGED_FILES);
            let (bytes, names) = tiers.entry(tier).or_default();
            if *bytes + file.bytes > FILE_BYTES_MAX {
                // Those before are together as long as a file may be.
                (*bytes, *names) = (0, Vec::new());
            }
            *bytes += file.bytes;
            names.push(name);
            if names.len() == MERGED_FILES {
                return Some(names.iter().copied().cloned().collect());
            }
        }
        None
    }

    /// The oldest files, without which there are at least so many jobs.
    pub fn to_drop(&self, retained: usize) -> Vec<String> {
        let mut jobs = self.jobs.len();
        let oldest = self.files.iter().take_while(|(_, file)| {
            jobs = jobs.saturating_sub(file.entries.len());
            jobs >= retained
        });
        oldest.map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::history::testing::ended_job;

    fn entry(job: u128) -> Entry {
        let summary = ended_job(job).details.summary.clone();
        Entry { summary, offset: 8, bytes: 100, checksum: 0 }
    }

    fn catalogue(files: &[(&str, &[u128])]) -> Catalogue {
        let mut catalogue = Catalogue::default();
        for (name, jobs) in files {
            catalogue.add((*name).to_owned(), 100, jobs.iter().copied().map(entry).collect());
        }
        catalogue
    }

    fn jobs(catalogue: &Catalogue) -> Vec<u128> {
        let mut jobs: Vec<_> = catalogue.summaries().iter().map(|summary| summary.job.0).collect();
        jobs.sort_unstable();
        jobs
    }

    #[test]
    fn a_job_in_two_files_is_one() {
        let mut catalogue = catalogue(&[("b", &[1, 2]), ("a", &[2, 3])]);
        assert_eq!(jobs(&catalogue), [1, 2, 3]);
        assert_eq!(catalogue.find(JobId(2)).unwrap().0, "b");
        catalogue.remove("b");
        assert_eq!(jobs(&catalogue), [2, 3]);
        assert_eq!(catalogue.find(JobId(2)).unwrap().0, "a");
        assert!(catalogue.find(JobId(1)).is_none());
    }

    #[test]
    fn files_that_others_write_and_remove_are_noticed() {
        let mut catalogue = catalogue(&[("a", &[1]), ("b", &[2])]);
        catalogue.add_damaged("c".to_owned());
        let names = ["b", "c", "d"].map(str::to_owned);
        assert_eq!(catalogue.compare(&names), ["d"]);
        assert_eq!(jobs(&catalogue), [2]);
        assert_eq!(catalogue.compare(&names[..1]), Vec::<String>::new());
        assert_eq!(catalogue.compare(&names), ["c", "d"], "one that came back may be another");
    }

    #[test]
    fn the_oldest_files_go_as_long_as_enough_jobs_are_left() {
        let catalogue = catalogue(&[("a", &[1, 2]), ("b", &[3]), ("c", &[4, 5])]);
        let dropped = [(0, 3), (1, 2), (2, 2), (3, 1), (4, 0), (9, 0)];
        for (retained, files) in dropped {
            assert_eq!(catalogue.to_drop(retained).len(), files, "{retained}");
        }
        assert_eq!(catalogue.to_drop(3), ["a"]);
    }

    #[test]
    fn long_files_are_left_alone() {
        let mut catalogue = Catalogue::default();
        for name in 0..MERGED_FILES as u128 * 3 {
            let bytes = if name % 2 == 0 { FILE_BYTES_MAX } else { FILE_BYTES_MAX / 4 };
            catalogue.add(format!("{name:03}"), bytes, vec![entry(name)]);
        }
        assert_eq!(catalogue.to_merge(), None);
    }

    proptest! {
        /// However jobs come, there are few files, and each job is written few times.
        #[test]
        fn files_stay_few(batches in prop::collection::vec(1usize..40, 1..400)) {
            let mut catalogue = Catalogue::default();
            let (mut number, mut written, mut names) = (0u128, 0, 0);
            for batch in batches {
                let entries: Vec<_> = (0..batch as u128).map(|job| entry(number + job)).collect();
                number += batch as u128;
                written += batch;
                names += 1;
                catalogue.add(format!("{names:06}"), batch as u64 * 1000, entries);
                while let Some(merged) = catalogue.to_merge() {
                    let files: Vec<File> =
                        merged.iter().map(|name| catalogue.files.remove(name).unwrap()).collect();
                    let entries: Vec<_> = files.into_iter().flat_map(|file| file.entries).collect();
                    prop_assert!(merged.len() > 1);
                    written += entries.len();
                    names += 1;
                    catalogue.add(format!("{names:06}"), entries.len() as u64 * 1000, entries);
                }
            }
            prop_assert_eq!(catalogue.summaries().len() as u128, number);
            prop_assert!(catalogue.files.len() <= 5 * (MERGED_FILES - 1) + number as usize / 1000, "{} files", catalogue.files.len());
            prop_assert!(written as u128 <= 6 * number);
        }
    }
}
