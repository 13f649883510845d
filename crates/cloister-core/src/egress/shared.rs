//! Names under which anybody can have storage: whoever reaches one account by its addresses reaches them all.

use super::{AllowRule, Narrowed, Peers, TooBroad, measure::too_wide};
use crate::{
    address::{DomainName, public::public_part},
    model::text::first_few,
};
use cloister_api::EgressConfig;

/// Domains under which anybody can have storage: those of the object stores and of what delivers from them, as their vendors
/// document their endpoints, in their countries' and governments' clouds too, and as the private section of the public suffix
/// list has them. Sorted; those of S3 are known by their form, see [`is_s3`].
const SHARED: [&str; 70] = [
    "aliyuncs.com",
    "azureedge.net",
    "azurefd.net",
    "b-cdn.net",
    "backblazeb2.com",
    "bcebos.com",
    "blob.fabric.microsoft.com",
    "cdn77-storage.com",
    "cloud-object-storage.appdomain.cloud",
    "cloud.ovh.net",
    "cloud.ovh.us",
    "cloudfront.net",
    "cloudscale.ch",
    "commondatastorage.googleapis.com",
    "contabostorage.com",
    "core.chinacloudapi.cn",
    "core.cloudapi.de",
    "core.usgovcloudapi.net",
    "core.windows.net",
    "dfs.fabric.microsoft.com",
    "digitaloceanspaces.com",
    "dream.io",
    "exo.io",
    "fin-ncloudstorage.com",
    "firebasestorage.app",
    "firebasestorage.googleapis.com",
    "gov-ncloudstorage.com",
    "ionoscloud.com",
    "jcloudcs.com",
    "ksyuncs.com",
    "linodeobjects.com",
    "myhuaweicloud.com",
    "myqcloud.com",
    "ncloudstorage.com",
    "ncpstorage.com",
    "nftstorage.link",
    "objectstorage.ch",
    "objectstorage.ncloud.com",
    "oraclecloud.com",
    "oraclecloud.eu",
    "oraclegovcloud.com",
    "oraclegovcloud.uk",
    "otc.t-systems.com",
    "qiniucs.com",
    "r2.cloudflarestorage.com",
    "r2.dev",
    "rep.googleapis.com",
    "s3.filebase.com",
    "sakurastorage.jp",
    "scw.cloud",
    "storage-download.googleapis.com",
    "storage-upload.googleapis.com",
    "storage.bunnycdn.com",
    "storage.cloud.google.com",
    "storage.dev",
    "storage.googleapis.com",
    "storage.mtls.googleapis.com",
    "storage.selcloud.ru",
    "storage.supabase.co",
    "storage.tigris.dev",
    "storage.yandexcloud.kz",
    "storage.yandexcloud.net",
    "storageapi.dev",
    "storjshare.io",
    "upcloudobjects.com",
    "volces.com",
    "vultrobjects.com",
    "wasabisys.com",
    "website.yandexcloud.net",
    "your-objectstorage.com",
];

/// The domains of the partitions of AWS.
const AWS: [&str; 3] = ["amazonaws.com", "amazonaws.com.cn", "amazonaws.eu"];

/// An opening without the names that anybody can have storage under, unless they lead to private networks alone; and
/// without those that are expected nearly anywhere.
pub(crate) fn without_shared(opening: AllowRule, config: &EgressConfig) -> Narrowed {
    let AllowRule { peers: Peers::Hosts(hosts), .. } = opening else {
        return Narrowed { opening: Some(opening), too_broad: Vec::new() };
    };
    let known = SHARED.iter().copied().chain(config.shared_suffixes.iter().map(String::as_str));
    let suffixes: Vec<&str> = known.collect();
    let (mut left, mut too_broad) = (Vec::new(), Vec::new());
    for host in hosts {
        let shared = || leads_to(&host.name, suffixes.iter().copied());
        let is_private = host.expected.as_ref().is_some_and(|expected| public_part(expected).is_empty());
        let wide = host.expected.as_ref().and_then(|expected| too_wide(expected, config.max_public_prefix));
        match ((!is_private).then(shared).flatten(), wide) {
            (Some(how), _) => {
                let name = host.to_string();
                too_broad.push(match &host.expected {
                    None => TooBroad::SharedSuffix { name, how },
                    Some(expected) => {
                        let public = first_few(public_part(expected).to_networks().iter());
                        TooBroad::SharedExpected { name, how, public }
                    }
                });
            }
            (None, Some(what)) => {
                too_broad.push(TooBroad::Expected { name: host.to_string(), what, limit: config.max_public_prefix })
            }
            (None, None) => left.push(host),
        }
    }
    let opening = (!left.is_empty()).then_some(AllowRule { peers: Peers::Hosts(left), ..opening });
    Narrowed { opening, too_broad }
}

/// How a name leads to what anybody can have storage under, in words, if it does.
fn leads_to<'a>(name: &DomainName, mut suffixes: impl Iterator<Item = &'a str>) -> Option<String> {
    if let Some(suffix) = suffixes.find(|suffix| name.reaches(suffix)) {
        let how = if name.is_wildcard() { "stands for names" } else { "is" };
        return Some(format!("{how} at or below {suffix}"));
    }
    // The domain is not the criterion: most names below it are of one service.
    let how = if name.is_wildcard() { "stands for names" } else { "is a name" };
    reaches_s3(name).map(|aws| format!("{how} of S3 below {aws}"))
}

/// Whether it stands for names that anybody can have storage under, without those that the settings add.
pub(super) fn is_of_storage(name: &DomainName) -> bool {
    leads_to(name, SHARED.into_iter()).is_some()
}

/// Below a region there is its S3.
fn reaches_s3(name: &DomainName) -> Option<&'static str> {
    let above = |aws: &str| {
        let region = name.name().strip_suffix(aws);
        region.is_some_and(|region| region.is_empty() || (region.ends_with('.') && region.matches('.').count() == 1))
    };
    AWS.into_iter().find(|aws| is_s3(name.name(), aws) || (name.is_wildcard() && above(aws)))
}

/// S3 has a name for each region and kind of access: s3.amazonaws.com, bucket.s3-accesspoint.eu-west-1.amazonaws.com,
/// bucket.s3express-use1-az4.us-east-1.amazonaws.com.
fn is_s3(name: &str, aws: &str) -> bool {
    let below = name.strip_suffix(aws).and_then(|rest| rest.strip_suffix('.'));
    below.is_some_and(|rest| rest.split('.').any(|label| label.starts_with("s3")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        address::never::NeverOpened,
        egress::{Surroundings, breadth::tests::broad, narrowed, open_rule},
    };
    use serde_json::json;

    #[test]
    fn a_name_that_anybody_can_have_storage_under_closes_no_other() {
        let rule =
            json!({"name": "r", "ports": [{"port": 443}], "domainNames": ["api.wandb.ai", "storage.googleapis.com"]});
        let rule = serde_json::from_value(rule).unwrap();
        let never = NeverOpened::new(&[]);
        let opening = open_rule(&rule, &Surroundings { never: &never, services: &|_| None, wildcards: true }).unwrap();
        let found = narrowed(vec![opening], &EgressConfig::default()).remove(0);
        let Some(Peers::Hosts(left)) = found.opening.map(|opening| opening.peers) else {
            panic!("all of it is closed")
        };
        assert_eq!(left.iter().map(ToString::to_string).collect::<Vec<_>>(), ["api.wandb.ai"]);
        assert!(found.too_broad[0].to_string().starts_with("storage.googleapis.com is at or below"));
    }

    #[test]
    fn the_list_is_sorted_and_of_names_of_which_none_is_below_another() {
        assert!(SHARED.is_sorted());
        for (at, suffix) in SHARED.iter().enumerate() {
            let name: DomainName = suffix.parse().unwrap();
            let above = SHARED.iter().enumerate().find(|(other, above)| *other != at && name.reaches(above));
            assert_eq!((name.name(), above), (*suffix, None));
        }
    }

    #[test]
    fn of_a_private_endpoint_it_is_said_which_part_is_public() {
        let said = |networks: &[&str]| {
            let endpoint = json!({"domainName": "weights.blob.core.windows.net", "expectedNetworks": networks});
            let rule = json!({"name": "r", "ports": [{"port": 443}], "privateEndpoint": endpoint});
            let never = NeverOpened::new(&[]);
            let s = Surroundings { never: &never, services: &|_| None, wildcards: true };
            let opening = open_rule(&serde_json::from_value(rule).unwrap(), &s).unwrap();
            narrowed(vec![opening], &EgressConfig::default()).remove(0).too_broad[0].message()
        };
        for (networks, public) in [
            (&["10.0.0.0/7"][..], "11.0.0.0/8"),
            (&["10.0.0.0/8", "203.0.113.0/24"], "203.0.113.0/24"),
            (&["203.0.113.0/24", "2001:db8::/48"], "203.0.113.0/24, 2001:db8::/48"),
        ] {
            assert_eq!(
                said(networks),
                format!(
                    "weights.blob.core.windows.net is at or below core.windows.net, where anybody can have storage, and these of \
                     its expectedNetworks are public: {public}; name only private networks, or request an EgressGrant for it"
                )
            );
        }
    }

    #[test]
    fn the_true_reason_is_named() {
        for (name, how) in [
            ("acct.blob.core.windows.net", "is at or below core.windows.net"),
            ("*.windows.net", "stands for names at or below core.windows.net"),
            ("acme.s3.us-east-1.amazonaws.com", "is a name of S3 below amazonaws.com"),
            ("*.eu-west-1.amazonaws.com", "stands for names of S3 below amazonaws.com"),
        ] {
            let rule = json!({"name": "r", "ports": [{"port": 443}], "domainNames": [name]});
            let never = NeverOpened::new(&[]);
            let s = Surroundings { never: &never, services: &|_| None, wildcards: true };
            let opening = open_rule(&serde_json::from_value(rule).unwrap(), &s).unwrap();
            assert_eq!(
                narrowed(vec![opening], &EgressConfig::default()).remove(0).too_broad[0].message(),
                format!(
                    "{name} {how}, where anybody can have storage; declare it as privateEndpoint with private \
                     expectedNetworks, or request an EgressGrant for it"
                )
            );
        }
    }

    #[test]
    fn a_name_that_stands_for_such_names_is_no_better() {
        for name in ["*.windows.net", "*.core.windows.net", "*.amazonaws.com", "*.eu-west-1.amazonaws.com"] {
            assert_eq!(broad(&[json!({"domainNames": [name]})]), [true], "{name}");
        }
        for name in ["*.arxiv.org", "*.dkr.ecr.eu-west-1.amazonaws.com", "*.x.windows.net"] {
            assert_eq!(broad(&[json!({"domainNames": [name]})]), [false], "{name}");
        }
    }

    #[test]
    fn a_name_that_anybody_can_have_storage_under_is_private_or_agreed_to() {
        let shared = [
            "acct.blob.core.windows.net",
            "s3.amazonaws.com",
            "bucket.s3.eu-west-1.amazonaws.com",
            "x.s3-accesspoint.eu-west-1.amazonaws.com",
            "storage.googleapis.com",
            "bucket--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com",
            "bucket.s3.cn-north-1.amazonaws.com.cn",
            "bucket.s3.eusc-de-east-1.amazonaws.eu",
            "x.blob.core.chinacloudapi.cn",
            "x.blob.core.usgovcloudapi.net",
            "x.storage.yandexcloud.net",
            "x.us-east-1.linodeobjects.com",
            "x.s3.gra.io.cloud.ovh.net",
            "x.dfs.fabric.microsoft.com",
            "x.fsn1.your-objectstorage.com",
            "x.obs.ap-southeast-1.myhuaweicloud.com",
        ];
        for name in shared {
            assert_eq!(broad(&[json!({"domainNames": [name]})]), [true], "{name}");
            let inside = json!({"domainName": name, "expectedNetworks": ["10.40.0.0/16"]});
            assert_eq!(broad(&[json!({"privateEndpoint": inside})]), [false], "{name}");
        }
        for name in ["export.arxiv.org", "sts.amazonaws.com", "notcore.windows.net"] {
            assert_eq!(broad(&[json!({"domainNames": [name]})]), [false], "{name}");
        }
    }

    #[test]
    fn a_private_endpoint_that_is_expected_anywhere_is_none() {
        let endpoint = |name: &str, networks: &[&str]| {
            broad(&[json!({"privateEndpoint": {"domainName": name, "expectedNetworks": networks}})])
        };
        for networks in [&["10.0.0.0/8", "52.0.0.0/8"][..], &["52.0.0.0/9"], &["2600::/16"]] {
            assert_eq!(endpoint("api.example.com", networks), [true], "{networks:?}");
            assert_eq!(endpoint("storage.googleapis.com", networks), [true], "{networks:?}");
        }
        // By nobody, an EgressGrant neither.
        let never = NeverOpened::new(&["52.128.0.0/9".parse().unwrap()]);
        let surroundings = Surroundings { never: &never, services: &|_| None, wildcards: true };
        for networks in [&["0.0.0.0/0"][..], &["0.0.0.0/1", "128.0.0.0/1"], &["2600::/12"], &["52.0.0.0/7"]] {
            let endpoint = json!({"domainName": "api.example.com", "expectedNetworks": networks});
            let rule = json!({"name": "r", "ports": [{"port": 443}], "privateEndpoint": endpoint});
            let refused = open_rule(&serde_json::from_value(rule).unwrap(), &surroundings).unwrap_err();
            assert_eq!(refused.reason(), "NetworksTooWide", "{networks:?}");
        }
        // Where anybody can have storage, a narrow range of the Internet holds others' as well.
        assert_eq!(endpoint("storage.googleapis.com", &["198.51.100.0/24"]), [true]);
        assert_eq!(endpoint("api.example.com", &["198.51.100.0/24", "10.0.0.0/8", "fd00:1::/32"]), [false]);
    }
}
