// What the server says it is.

/** The Kubernetes version whose API this is. */
export const serverVersion: Readonly<Record<string, string>> & { readonly gitVersion: string } = {
  major: '1',
  minor: '36',
  gitVersion: 'v1.36.0+nodelet',
  gitCommit: '',
  gitTreeState: 'clean',
  buildDate: '1970-01-01T00:00:00Z',
  goVersion: '',
  compiler: '',
  platform: `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`,
}
