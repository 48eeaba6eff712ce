//! Hadoop's client configuration: `core-site.xml` and `hdfs-site.xml` of `HADOOP_CONF_DIR`.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
};

use quick_xml::{Reader, events::Event};

use crate::error::{Error, Result};

const FILES: [&str; 2] = ["core-site.xml", "hdfs-site.xml"];

/// The properties, by name.
#[derive(Debug, Clone, Default)]
pub struct HadoopConf(pub BTreeMap<String, String>);

impl HadoopConf {
    /// Reads the folder; without one, `HADOOP_CONF_DIR`, else `HADOOP_HOME/etc/hadoop`, else nothing.
    pub fn load(folder: Option<&Path>) -> Result<Self> {
        let Some(folder) = folder.map(Path::to_owned).or_else(folder_from_environment) else {
            return Ok(Self::default());
        };
        let mut properties = BTreeMap::new();
        for path in FILES.map(|file| folder.join(file)) {
            let shown = path.display().to_string();
            match fs::read_to_string(&path) {
                Ok(text) => read_properties(&shown, &text, &mut properties)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::from_io("read", &shown, error)),
            }
        }
        Ok(Self(properties))
    }

    /// A property's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// `host:port` of `fs.defaultFS`, or the name of its name service.
    pub fn default_authority(&self) -> Option<&str> {
        let url = self.get("fs.defaultFS").or_else(|| self.get("fs.default.name"))?;
        let authority = url.strip_prefix("hdfs://")?.split('/').next()?;
        (!authority.is_empty()).then_some(authority)
    }

    /// The NameNodes' HTTP addresses of an authority: those of a name service, or of the one host.
    pub fn http_addresses(&self, authority: &str) -> Vec<String> {
        if let Some(namenodes) = self.get(&format!("dfs.ha.namenodes.{authority}")) {
            let address =
                |id: &str| self.get(&format!("dfs.namenode.http-address.{authority}.{}", id.trim()));
            return namenodes.split(',').filter_map(address).map(str::to_owned).collect();
        }
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        let configured = self.get("dfs.namenode.http-address").and_then(|address| address.rsplit_once(':'));
        let address = match configured {
            Some(("0.0.0.0" | "", port)) => format!("{host}:{port}"),
            Some((configured_host, port)) if configured_host == host => format!("{host}:{port}"),
            Some((configured_host, port)) if self.default_authority() == Some(authority) => {
                format!("{configured_host}:{port}")
            }
            _ => format!("{host}:9870"),
        };
        vec![address]
    }
}

fn folder_from_environment() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("HADOOP_CONF_DIR").or_else(|| set("HADOOP_HOME").map(|home| home.join("etc/hadoop")))
}

/// The name of the user that HDFS is told, where Kerberos does not say it.
pub fn user_name() -> String {
    let given = env::var("HADOOP_USER_NAME").ok().filter(|name| !name.is_empty());
    given.or_else(crate::error::local_user).unwrap_or_else(|| "root".to_owned())
}

fn read_properties(path: &str, text: &str, properties: &mut BTreeMap<String, String>) -> Result<()> {
    let corrupt = |source| Error::Corrupt { path: path.to_owned(), format: "Hadoop configuration", source };
    let mut reader = Reader::from_str(text);
    let (mut element, mut name, mut value) = (String::new(), String::new(), String::new());
    loop {
        match reader.read_event().map_err(|error| corrupt(error.into()))? {
            Event::Start(start) => element = start.local_name().as_ref().to_owned(),
            Event::Text(part) => append(&element, &part, &mut name, &mut value),
            Event::GeneralRef(entity) => append(&element, resolve_entity(&entity), &mut name, &mut value),
            Event::End(end) => {
                if end.local_name().as_ref() == "property" {
                    properties.insert(name.trim().to_owned(), value.trim().to_owned());
                    (name, value) = (String::new(), String::new());
                }
                element.clear();
            }
            Event::Eof => return Ok(()),
            _ => {}
        }
    }
}

fn append(element: &str, text: &str, name: &mut String, value: &mut String) {
    match element {
        "name" => name.push_str(text),
        "value" => value.push_str(text),
        _ => {}
    }
}

fn resolve_entity(entity: &str) -> &str {
    match entity {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" => "'",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(properties: &[(&str, &str)]) -> HadoopConf {
        HadoopConf(properties.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }

    #[test]
    fn properties_are_read_and_later_files_win() {
        let folder = tempfile::tempdir().unwrap();
        let property = |name: &str, value: &str| {
            format!(
                "<configuration><property><name>{name}</name><value> {value}\n</value></property></configuration>"
            )
        };
        fs::write(folder.path().join("core-site.xml"), property("fs.defaultFS", "hdfs://a&amp;b:8020/"))
            .unwrap();
        let conf = HadoopConf::load(Some(folder.path())).unwrap();
        assert_eq!(conf.default_authority(), Some("a&b:8020"));
        fs::write(folder.path().join("hdfs-site.xml"), property("fs.defaultFS", "hdfs://ns")).unwrap();
        assert_eq!(HadoopConf::load(Some(folder.path())).unwrap().default_authority(), Some("ns"));
    }

    #[test]
    fn a_broken_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("core-site.xml"), "<configuration><a></b>").unwrap();
        let error = HadoopConf::load(Some(folder.path())).unwrap_err();
        assert!(error.to_string().contains("core-site.xml"), "{error}");
    }

    #[test]
    fn http_addresses_follow_the_name_service_or_the_host() {
        let ha = conf(&[
            ("dfs.ha.namenodes.ns", "nn1, nn2"),
            ("dfs.namenode.http-address.ns.nn1", "a:9870"),
            ("dfs.namenode.http-address.ns.nn2", "b:9870"),
        ]);
        assert_eq!(ha.http_addresses("ns"), ["a:9870", "b:9870"]);
        assert_eq!(conf(&[]).http_addresses("nn:8020"), ["nn:9870"]);
        assert_eq!(
            conf(&[("dfs.namenode.http-address", "0.0.0.0:50070")]).http_addresses("nn:8020"),
            ["nn:50070"]
        );
    }
}
