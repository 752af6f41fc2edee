// Halves are rounded to even as the server's sentences round them: both say the same number.
const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0, roundingMode: "halfEven" } as Intl.NumberFormatOptions);
const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 3 });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", timeZone: "UTC" });

type Maybe<T> = T | null | undefined;

export const known = <T>(v: Maybe<T>): v is T => v !== null && v !== undefined;

/** 75,536; what is not known is a dash. */
export const num = (n: Maybe<number>): string => (known(n) ? whole.format(n) : "–");

/** 75.5K */
export const compact = (n: Maybe<number>): string => (known(n) ? short.format(n) : "–");

/** 47.6 %, which is not broken into two lines. */
export const pct = (share: Maybe<number>): string => (known(share) ? (share * 100).toFixed(1) + "\u00a0%" : "–");

/** The ends of an interval: 72,000 to 79,000. */
export const range = (low: Maybe<number>, high: Maybe<number>, f = num): string => (known(low) && known(high) ? `${f(low)} to ${f(high)}` : "unknown");

/** 12 s, 4 min, 3 h, 2 d */
export function duration(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 90) return s + " s";
  if (s < 90 * 60) return Math.round(s / 60) + " min";
  if (s < 36 * 3600) return Math.round(s / 3600) + " h";
  return Math.round(s / 86400) + " d";
}

export const ago = (at: Maybe<number>): string => (known(at) && at > 0 ? duration(Date.now() - at) + " ago" : "never");

export const time = (at: Maybe<number>): string => (known(at) && at > 0 ? day.format(at) + " UTC" : "–");

export function bytes(n: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let i = 0;
  while (n >= 1000 && i < units.length - 1) {
    n /= 1000;
    i++;
  }
  return (i > 0 && n < 10 ? n.toFixed(1) : Math.round(n)) + " " + units[i];
}

/** The beginning and end of an id. */
export const brief = (id: string): string => (id.length > 18 ? id.slice(0, 10) + "…" + id.slice(-6) : id);

export const capital = (s: string): string => s.charAt(0).toUpperCase() + s.slice(1);

// As the companies write them. Others are written with a capital.
const names: Record<string, string> = {
  isp: "Internet provider", hosting: "Data centre",
  alibaba: "Alibaba Cloud", baidu: "Baidu AI Cloud", aws: "AWS", azure: "Azure", cherry: "Cherry Servers", datacamp: "DataCamp", digitalocean: "DigitalOcean", gcp: "Google Cloud", gmo: "GMO", huawei: "Huawei Cloud", ibm: "IBM Cloud", ionos: "IONOS", latitude: "Latitude.sh",
  m247: "M247", netcup: "netcup", oracle: "Oracle Cloud", ovh: "OVHcloud", tencent: "Tencent Cloud", ucloud: "UCloud", upcloud: "UpCloud", yandex: "Yandex Cloud", zenlayer: "Zenlayer",
};

/** What a group is called: clouds and hosting types have short names in the API. */
export const groupName = (name: Maybe<string>): string => (known(name) ? (names[name] ?? capital(name)) : "Unknown");

/** A client with its release; each is called unknown where it is not known. */
export const clientName = (client: Maybe<string>): string => (client && client !== "unknown" ? capital(client) : "Unknown client");
export const releaseName = (release: Maybe<string>): string => release || "unknown release";

/** Where the points of a series stand: totals at the time that they are of. */
export const pointTimes = (points: { time?: number | null; totals_at?: number | null }[]): number[] => points.map((p) => p.totals_at ?? p.time!);

/** A next fork digest: zeros announce that no fork follows. */
export const digestName = (digest: Maybe<string>): string => (digest && /^0x0+$/.test(digest) ? "none" : (digest ?? "–"));

const colours = ["lighthouse", "prysm", "teku", "nimbus", "lodestar", "grandine"];

/** A client's colour, the same on every page. */
export const clientColour = (client: Maybe<string>): string => {
  const c = client?.toLowerCase() ?? "";
  return `var(--c-${colours.includes(c) ? c : "other"})`;
};
