// Which names there can be, and how the API server tells of others.

export const label: string = '[a-z0-9]([-a-z0-9]*[a-z0-9])?'
export const subdomain: string = `${label}(\\.${label})*`
export const longestName = 253
export const subdomainText: string = `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '${subdomain}')`
export const labelText: string = `a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '${label}')`
export const dns1035: string = '[a-z]([-a-z0-9]*[a-z0-9])?'
export const dns1035Text: string = `a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '${dns1035}')`
export const longestLabel = 63
