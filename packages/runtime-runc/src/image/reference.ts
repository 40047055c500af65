// Image names: what people write, and the canonical form.
import { CriError } from '@nodelet/cri-api'

/** A parsed image name. `tag` and `digest` are what was written; a name with neither means the tag `latest`. */
export interface Reference {
  /** Registry host with its port, for instance `docker.io`. */
  domain: string
  /** Repository below the registry, for instance `library/busybox`. */
  path: string
  tag?: string
  /** `sha256:…` */
  digest?: string
}

const hostPart = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])'
const host = new RegExp(`^(?:${hostPart}(?:\\.${hostPart})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?$`)
const component = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*'
const repository = new RegExp(`^${component}(?:/${component})*$`)
const tagPattern = /^\w[\w.-]{0,127}$/
const digestPattern = /^sha256:[a-f0-9]{64}$/
const longestName = 255

/**
 * Parses an image name, with the defaults that Docker began and everyone follows: `busybox` is
 * `docker.io/library/busybox:latest`.
 * @throws CriError INVALID_ARGUMENT
 */
export function parseReference(text: string): Reference {
  const [beforeDigest = '', digest, ...more] = text.split('@')
  const slash = beforeDigest.indexOf('/')
  const first = beforeDigest.slice(0, Math.max(0, slash))
  const isHost = slash > 0 && (/[.:]/.test(first) || first === 'localhost' || first.toLowerCase() !== first)
  const rest = isHost ? beforeDigest.slice(slash + 1) : beforeDigest
  const colon = rest.indexOf(':')
  const name = colon < 0 ? rest : rest.slice(0, colon)
  const tag = colon < 0 ? undefined : rest.slice(colon + 1)
  const domain = isHost ? (first === 'index.docker.io' ? 'docker.io' : first) : 'docker.io'
  const path = domain === 'docker.io' && !name.includes('/') ? `library/${name}` : name

  const problem =
    (more.length > 0 && 'more than one "@"') ||
    (repository.test(name.toLowerCase()) && name !== name.toLowerCase() && 'repository name must be lowercase') ||
    (!(host.test(domain) && repository.test(path) && `${domain}/${path}`.length <= longestName) &&
      'invalid reference format') ||
    (tag !== undefined && !tagPattern.test(tag) && 'invalid reference format') ||
    (digest !== undefined && !digestPattern.test(digest) && 'invalid digest: must be sha256 and 64 hex digits')
  if (problem) {
    throw new CriError('INVALID_ARGUMENT', `failed to parse reference ${JSON.stringify(text)}: ${problem}`)
  }
  return { domain, path, ...(tag !== undefined && { tag }), ...(digest !== undefined && { digest }) }
}

/** Domain and path, without tag and digest. */
export const nameOf = ({ domain, path }: Reference): string => `${domain}/${path}`

/** The name with its tag; `latest` when neither tag nor digest was written; undefined for a digest alone. */
export function taggedName(reference: Reference): string | undefined {
  if (reference.tag === undefined && reference.digest !== undefined) return undefined
  return `${nameOf(reference)}:${reference.tag ?? 'latest'}`
}

/** The canonical form in full. */
export function printReference(reference: Reference): string {
  const tagged = taggedName(reference) ?? nameOf(reference)
  return reference.digest === undefined ? tagged : `${tagged}@${reference.digest}`
}
