//! Which DNS servers do not answer, whatever they are asked for.

use super::resolver::Response;
use std::{collections::HashMap, net::SocketAddr};

/// How many look-ups in a row a server must leave unanswered until it is said to be silent.
const IN_A_ROW: u32 = 3;

/// The servers that left look-ups unanswered, how many in a row, and what happened instead the last time.
#[derive(Debug, Default)]
pub struct Silences(HashMap<SocketAddr, (u32, String)>);

impl Silences {
    /// Takes note of what servers said, and answers whether others are silent now.
    pub fn hear(&mut self, responses: &[(SocketAddr, Response)]) -> bool {
        let before = self.count();
        let mut changed = false;
        for (server, response) in responses {
            match response {
                Response::Silent(why) => {
                    let (times, last) = self.0.entry(*server).or_default();
                    *times = times.saturating_add(1);
                    if last.is_empty() {
                        last.clone_from(why);
                    }
                }
                _ => changed |= self.0.remove(server).is_some_and(|(times, _)| times >= IN_A_ROW),
            }
        }
        changed || self.count() != before
    }

    /// Those among these servers that are silent, in order, each with what happened instead of an answer.
    pub fn among(&self, servers: &[SocketAddr]) -> Vec<(SocketAddr, String)> {
        let is_silent = |server: &SocketAddr| self.0.get(server).filter(|(times, _)| *times >= IN_A_ROW);
        servers.iter().filter_map(|server| Some((*server, is_silent(server)?.1.clone()))).collect()
    }

    fn count(&self) -> usize {
        self.0.values().filter(|(times, _)| *times >= IN_A_ROW).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_silent_after_some_look_ups_and_until_its_next_answer() {
        let [dead, alive] = [53, 54].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let mut silences = Silences::default();
        let silent = |at| (at, Response::Silent("timed out".to_owned()));
        let answers = |at| (at, Response::Failed("SERVFAIL".to_owned()));
        for last in [false, false, true, false] {
            assert_eq!(silences.hear(&[silent(dead), answers(alive)]), last);
        }
        assert_eq!(silences.among(&[alive, dead]), [(dead, "timed out".to_owned())]);
        assert!(silences.among(&[alive]).is_empty(), "it is asked no more");
        assert!(silences.hear(&[answers(dead)]) && silences.among(&[dead]).is_empty());
        assert!(!silences.hear(&[silent(dead)]) && silences.among(&[dead]).is_empty(), "it begins anew");
    }
}
