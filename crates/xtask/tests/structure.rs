//! How the files of the workspace depend on each other: in no circle, so that each can be read after those that it uses.

use anyhow::{Context, Result, ensure};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use xtask::cluster::workspace_root;

/// A path of a module within its crate.
type Module = Vec<String>;

/// The most lines that a file of these has, tests aside.
const MOST_LINES: usize = 350;
const BOUNDED: [&str; 3] = ["crates/cloister-controller/src", "crates/cloister-core/src", "crates/cloister-index/src"];

/// What a file says of names.
#[derive(Default)]
struct File {
    /// The paths that it names, from the root of its crate.
    names: BTreeSet<Module>,
    /// The names that it gives to others, and what they stand for.
    gives: BTreeMap<String, Module>,
    /// The modules of which it gives all to others.
    gives_all: Vec<Module>,
    /// The names that it defines.
    defines: BTreeSet<String>,
}

/// The files of one crate that are no tests, by the modules that they are.
struct Crate {
    modules: BTreeSet<Module>,
    files: BTreeMap<Module, File>,
}

impl Crate {
    fn read(root: &Path) -> Result<Self> {
        let mut paths = BTreeMap::new();
        collect(root, &Vec::new(), &mut paths)?;
        let modules: BTreeSet<Module> = paths.keys().cloned().collect();
        let mut files = BTreeMap::new();
        for (module, path) in &paths {
            let text = fs::read_to_string(path)?;
            let tokens: TokenStream =
                text.parse().map_err(|error| anyhow::anyhow!("{} cannot be read: {error}", path.display()))?;
            let mut file = File::default();
            let mut reader = Reader { module, modules: &modules, file: &mut file };
            reader.items(&without_tests(tokens));
            files.insert(module.clone(), file);
        }
        Ok(Crate { modules, files })
    }

    /// The file that has what a path names.
    fn file_of(&self, path: &[String]) -> Module {
        self.follow(path, 8)
    }

    fn follow(&self, path: &[String], steps: usize) -> Module {
        let longest = (0..=path.len()).rev().find(|end| self.modules.contains(&path[..*end]));
        let (module, rest) = path.split_at(longest.unwrap_or(0));
        let (Some(file), [name, after @ ..], true) = (self.files.get(module), rest, steps > 0) else {
            return module.to_vec();
        };
        if let Some(stands_for) = file.gives.get(name) {
            return self.follow(&[stands_for, after].concat(), steps - 1);
        }
        let defines = |of: &&Module| self.files.get(*of).is_some_and(|of| of.defines.contains(name));
        file.gives_all.iter().find(defines).unwrap_or(&module.to_vec()).clone()
    }

    /// Which files each file depends on.
    fn edges(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        self.files
            .iter()
            .map(|(module, file)| {
                let all: BTreeSet<Module> = file.names.iter().map(|path| self.file_of(path)).collect();
                (module, all.into_iter().filter(|other| other != module).collect())
            })
            .collect()
    }

    /// The files that depend on themselves by others, together.
    fn circles(&self) -> Vec<Vec<String>> {
        let edges = self.edges();
        let reach = |from: &Module| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
            while let Some(at) = next.pop() {
                for other in edges.get(&at).into_iter().flatten() {
                    if seen.insert(other.clone()) {
                        next.push(other.clone());
                    }
                }
            }
            seen
        };
        let all: BTreeMap<&Module, BTreeSet<Module>> =
            self.files.keys().map(|module| (module, reach(module))).collect();
        let mut circles = BTreeSet::new();
        for (module, reached) in all.iter().filter(|(module, reached)| reached.contains(**module)) {
            let together = reached.iter().filter(|other| all.get(other).is_some_and(|back| back.contains(*module)));
            circles.insert(together.map(name_of).collect::<Vec<_>>());
        }
        circles.into_iter().collect()
    }
}

fn name_of(module: &Module) -> String {
    if module.is_empty() { "the root".to_owned() } else { module.join("::") }
}

/// The modules of a folder, each with its file. Files of tests are none.
fn collect(folder: &Path, module: &Module, into: &mut BTreeMap<Module, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).context("a name")?.to_owned();
        let child = || [module.as_slice(), std::slice::from_ref(&name)].concat();
        if path.is_dir() {
            collect(&path, &child(), into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests" && name != "laws" {
            let is_this = matches!(name.as_str(), "mod" | "lib" | "main");
            into.insert(if is_this { module.clone() } else { child() }, path);
        }
    }
    Ok(())
}

/// Everything but the items that are there for tests alone.
fn without_tests(tokens: TokenStream) -> Vec<TokenTree> {
    let mut left = Vec::new();
    let mut all = tokens.into_iter().peekable();
    while let Some(token) = all.next() {
        let is_hash = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '#');
        let is_test = is_hash
            && matches!(all.peek(), Some(TokenTree::Group(group)) if group.stream().to_string().replace(' ', "") == "cfg(test)");
        if !is_test {
            left.push(token);
            continue;
        }
        for token in all.by_ref() {
            let ends = match &token {
                TokenTree::Punct(punct) => punct.as_char() == ';',
                TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                _ => false,
            };
            if ends {
                break;
            }
        }
    }
    left
}

struct Reader<'a> {
    module: &'a Module,
    modules: &'a BTreeSet<Module>,
    file: &'a mut File,
}

impl Reader<'_> {
    /// Reads what a file has outside of everything else.
    fn items(&mut self, tokens: &[TokenTree]) {
        for pair in tokens.windows(2) {
            if let [TokenTree::Ident(keyword), TokenTree::Ident(name)] = pair
                && ["struct", "enum", "fn", "trait", "type", "const", "static", "union"]
                    .contains(&keyword.to_string().as_str())
            {
                self.file.defines.insert(name.to_string());
            }
        }
        self.read(tokens);
    }

    fn read(&mut self, tokens: &[TokenTree]) {
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => {
                    let within: Vec<TokenTree> = group.stream().into_iter().collect();
                    self.read(&within);
                    at += 1;
                }
                TokenTree::Ident(first) if !goes_on(&tokens[..at]) => {
                    let start = first.to_string();
                    let is_child =
                        self.modules.contains(&[self.module.as_slice(), std::slice::from_ref(&start)].concat());
                    let is_path = matches!(start.as_str(), "crate" | "self" | "super") || is_child;
                    if !(is_path && is_colon(tokens.get(at + 1)) && is_colon(tokens.get(at + 2))) {
                        at += 1;
                        continue;
                    }
                    let gives = is_use(&tokens[..at]);
                    let mut paths = Vec::new();
                    at = tree(tokens, at, &mut Vec::new(), &mut paths);
                    for (path, name) in paths {
                        self.note(path, name, gives);
                    }
                }
                _ => at += 1,
            }
        }
    }

    fn note(&mut self, mut path: Module, name: String, gives: bool) {
        let mut absolute = self.module.clone();
        if path.first().is_some_and(|first| first == "crate") {
            absolute.clear();
        }
        while let Some(first) = path.first().cloned() {
            match first.as_str() {
                "crate" | "self" => {}
                "super" => drop(absolute.pop()),
                _ => break,
            }
            path.remove(0);
        }
        absolute.extend(path.into_iter().filter(|part| part != "self"));
        if name == "*" {
            absolute.pop();
            if gives {
                self.file.gives_all.push(absolute.clone());
            }
        } else if gives {
            self.file.gives.insert(name, absolute.clone());
        }
        // What is only given on is nothing that this file depends on: whoever takes it depends on where it comes from.
        if !gives {
            self.file.names.insert(absolute);
        }
    }
}

fn is_colon(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':')
}

/// Whether a path goes on after these tokens.
fn goes_on(before: &[TokenTree]) -> bool {
    matches!(before, [.., first, second] if is_colon(Some(first)) && is_colon(Some(second)))
}

/// Whether what follows these tokens is given to others by `pub use`.
fn is_use(before: &[TokenTree]) -> bool {
    let text = |back: usize| before.len().checked_sub(back).and_then(|at| before.get(at)).map(ToString::to_string);
    let is_restricted = text(2).is_some_and(|text| text.starts_with('('));
    text(1).as_deref() == Some("use") && text(if is_restricted { 3 } else { 2 }).as_deref() == Some("pub")
}

/// Reads a path, with what is in braces after it, and answers where it ends. Each path comes with the name that it gets.
fn tree(tokens: &[TokenTree], mut at: usize, path: &mut Module, into: &mut Vec<(Module, String)>) -> usize {
    let depth = path.len();
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(part)) => {
                path.push(part.to_string());
                at += 1;
            }
            Some(TokenTree::Punct(star)) if star.as_char() == '*' => {
                path.push("*".to_owned());
                at += 1;
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let within: Vec<TokenTree> = group.stream().into_iter().collect();
                let parts = within.split(|token| matches!(token, TokenTree::Punct(comma) if comma.as_char() == ','));
                for part in parts.filter(|part| !part.is_empty()) {
                    tree(part, 0, path, into);
                }
                path.truncate(depth);
                return at + 1;
            }
            _ => break,
        }
        if !(is_colon(tokens.get(at)) && is_colon(tokens.get(at + 1))) {
            break;
        }
        at += 2;
    }
    let mut name = path.iter().rev().find(|part| *part != "self").cloned().unwrap_or_default();
    if let (Some(TokenTree::Ident(renamed)), Some(TokenTree::Ident(other))) = (tokens.get(at), tokens.get(at + 1))
        && renamed == "as"
    {
        name = other.to_string();
        at += 2;
    }
    into.push((path.clone(), name));
    path.truncate(depth);
    at
}

/// The crates and the test programs, each with the folder of its root.
fn roots() -> Result<Vec<PathBuf>> {
    let root = workspace_root()?;
    let mut roots = Vec::new();
    for (folder, file) in [("crates", "src"), ("tests", "")] {
        for entry in fs::read_dir(root.join(folder))? {
            let path = entry?.path().join(file);
            if ["lib.rs", "main.rs"].iter().any(|name| path.join(name).exists()) {
                roots.push(path);
            }
        }
    }
    ensure!(roots.len() > 8, "only {roots:?}");
    Ok(roots)
}

#[test]
fn no_file_depends_on_itself_by_others() -> Result<()> {
    let mut found = Vec::new();
    for root in roots()? {
        let circles = Crate::read(&root)?.circles();
        found.extend(circles.into_iter().map(|circle| format!("{}: {}", root.display(), circle.join(", "))));
    }
    ensure!(found.is_empty(), "files that depend on each other:\n{}", found.join("\n"));
    Ok(())
}

#[test]
fn a_circle_is_found_through_names_that_are_given_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text);
    write("lib.rs", "mod a; mod b; mod c; pub use a::{A as First, *};")?;
    write("a.rs", "use crate::c::C; pub struct A(C); pub fn deep() {}")?;
    write("b.rs", "fn b() { super::deep() }")?;
    write("c.rs", "pub struct C; #[cfg(test)] mod tests { use crate::First; }")?;
    ensure!(Crate::read(folder.path())?.circles().is_empty(), "tests may use what they like");
    write("c.rs", "pub struct C(Box<crate::First>);")?;
    ensure!(Crate::read(folder.path())?.circles() == [["a", "c"]], "{:?}", Crate::read(folder.path())?.circles());
    write("c.rs", "fn c() { json!({\"x\": crate::b::b()}) }")?;
    ensure!(Crate::read(folder.path())?.circles() == [["a", "b", "c"]], "by a glob and in a macro");
    Ok(())
}

#[test]
fn every_file_can_be_read_in_one_go() -> Result<()> {
    let mut long = Vec::new();
    for root in BOUNDED {
        let mut paths = BTreeMap::new();
        collect(&workspace_root()?.join(root), &Vec::new(), &mut paths)?;
        for path in paths.values() {
            let lines = fs::read_to_string(path)?.lines().count();
            if lines > MOST_LINES {
                long.push(format!("{}: {lines} lines", path.display()));
            }
        }
    }
    ensure!(long.is_empty(), "longer than {MOST_LINES} lines:\n{}", long.join("\n"));
    Ok(())
}
