package hosting

import (
	"strings"
	"sync"
)

// nameRules are tried from the first to the last, and the first that fits
// decides: names of providers, then words from the most to the least telling.
// A pattern is a word; * stands for any letters before or after it, and _ for
// the space between two words.
var nameRules = []struct {
	kind     Type
	cloud    string
	patterns string
}{
	{ISP, "", "google_fiber fiberhost internet_service_provider *wifi*"},
	{Hosting, "aws", "amazon aws"},
	{Hosting, "gcp", "google"},
	{Hosting, "azure", "microsoft azure"},
	{Hosting, "oracle", "oracle"},
	{Hosting, "ibm", "ibm_cloud softlayer"},
	{Hosting, "alibaba", "alibaba aliyun alicloud"},
	{Hosting, "tencent", "tencent"},
	{Hosting, "huawei", "huawei huaweicloud"},
	{Hosting, "ovh", "ovh ovhcloud"},
	{Hosting, "hetzner", "hetzner"},
	{Hosting, "contabo", "contabo"},
	{Hosting, "digitalocean", "digitalocean digital_ocean"},
	{Hosting, "vultr", "vultr choopa"},
	{Hosting, "linode", "linode"},
	{Hosting, "akamai", "akamai"},
	{Hosting, "datacamp", "datacamp"},
	{Hosting, "leaseweb", "leaseweb*"},
	{Hosting, "scaleway", "scaleway"},
	{Hosting, "ionos", "ionos"},
	{Hosting, "equinix", "equinix packet_host"},
	{Hosting, "cloudflare", "cloudflare*"},
	{Hosting, "rackspace", "rackspace"},
	{Hosting, "hostinger", "hostinger"},
	{Hosting, "upcloud", "upcloud"},
	{Hosting, "yandex", "yandex_cloud yandexcloud"},

	{Education, "", "universi* univ college* school* academic educa* hochschule* polytechni* " +
		"institute_of_technology nren"},
	{Hosting, "", "*hosting* host* *host *hosts *hoster *cloud* server* *server *servers *vps vds kvm* *kvm " +
		"*datacent* *data_cent* *data_vault rechenzentrum veri_merkezi centro_de_datos centre_de_donnees " +
		"*colo colocation* rack* *racks dedicated* *nodes compute gpu* " +
		"hospeda* hebergement* sunucu* nuvem nube " +
		"bare_metal baremetal webservices web_services cdn content_delivery ddos* *ddos domain_names registrar " +
		"internetdienste idc godaddy*"},
	{Business, "", "hotel* intel"}, // before words that end in tel
	{ISP, "", "*telecom* *telekom* *telefon* telephon* *telco tele2* telenor telia* telus *tel " +
		"comunica* communicat* kommunikat* komunikas* *cable* kabel* *broadband* *bredband* *bredbaand* " +
		"fibre* fiber* *fibra* glasfaser* mobile* mobil *wireless* cellular *isp satellite* " +
		"provedor* multimidia wimax banda_larga breitband* breiband kablo* televis* iletisim"},
	{ISP, "", "vodafone orange bell rogers verizon comcast charter spectrum cox at_t " +
		"swisscom proximus telenet telemach ziggo odido elisa sfr free_sas bouygues netia kpn " +
		"vimpelcom megafon mts kyivstar unicom chinanet kddi docomo optus telstra starhub superloop " +
		"jio videotron cogeco breezeline liberty_global claro telmex vivo turkcell superonline"},
	{ISP, "", "internet"},
	{Business, "", "bank* banco insurance capital trading securities ministry hospital* credit_union city_of government"},
}

// A rule fits a name whose normalised words contain pattern.
type rule struct {
	pattern []byte
	verdict Verdict
}

// rules are the patterns of nameRules one by one, made at the first use.
var rules = sync.OnceValue(func() []rule {
	var out []rule
	for _, r := range nameRules {
		for _, p := range strings.Fields(r.patterns) {
			word := strings.ReplaceAll(strings.Trim(p, "*"), "_", " ")
			pattern := word
			if !strings.HasPrefix(p, "*") {
				pattern = " " + pattern
			}
			if !strings.HasSuffix(p, "*") {
				pattern += " "
			}
			out = append(out, rule{[]byte(pattern), Verdict{r.kind, r.cloud, "rule:" + word}})
		}
	}
	return out
})
