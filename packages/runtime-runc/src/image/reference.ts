// Image names: what people write, and the canonical form.
import { CriError } from '@nodelet/cri-api'
import { digestPattern, digestRule } from '../digest.ts'

/** A parsed image name. `tag` and `digest` are what was written; a name with neither means the tag `latest`. */
export interface Reference {
  /** Registry host with its port, for instance `docker.io`. */
  domain: string
  /** Repository below the registry, for instance `library/busybox`. */
  path: string
  tag?: string
  /** `sha256:…`, `sha384:…` or `sha512:…` */
  digest?: string
}

const hostPart = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])'
const host = new RegExp(`^(?:${hostPart}(?:\\.${hostPart})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?$`)
const component = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*'
const repository = new RegExp(`^${component}(?:/${component})*$`)
const tagPattern = /^\w[\w.-]{0,127}$/
const longestName = 255
const idPattern = /^[a-f0-9]{64}$/

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

  const reason = problemOf(text, { domain, path, tag, digest, isMore: more.length > 0 })
  if (reason !== undefined) {
    const problem = ['invalid reference format', ...(reason ? [reason] : [])].join(': ')
    throw new CriError('INVALID_ARGUMENT', `couldn't parse image name ${JSON.stringify(text)}: ${problem}`)
  }
  return { domain, path, ...(tag !== undefined && { tag }), ...(digest !== undefined && { digest }) }
}

interface Words {
  domain: string
  path: string
  tag: string | undefined
  digest: string | undefined
  isMore: boolean
}

/** Why it is no name; empty when there is nothing to add to that. */
function problemOf(text: string, { domain, path, tag, digest, isMore }: Words): string | undefined {
  if (isMore) return 'more than one "@"'
  if (idPattern.test(text)) return 'this is an image ID, not a name'
  const isName = host.test(domain) && repository.test(path) && `${domain}/${path}`.length <= longestName
  if (!isName) return host.test(domain) && repository.test(path.toLowerCase()) ? whyNot(path) : ''
  if (tag !== undefined && !tagPattern.test(tag)) return ''
  if (digest !== undefined && !digestPattern.test(digest)) return `a digest is ${digestRule}`
  return undefined
}

const whyNot = (path: string): string => (path === path.toLowerCase() ? '' : 'repository name must be lowercase')

/** Domain and path, without tag and digest. */
export const nameOf = ({ domain, path }: Reference): string => `${domain}/${path}`

/**
 * The name with its tag; `latest` when neither tag nor digest was written. Undefined when there is a digest: it decides,
 * and what the tag stands for is not known.
 */
export function taggedName(reference: Reference): string | undefined {
  return reference.digest === undefined ? `${nameOf(reference)}:${reference.tag ?? 'latest'}` : undefined
}

/** The canonical form in full, as it was written: with the tag beside a digest. */
export function printReference(reference: Reference): string {
  const { tag, digest } = reference
  if (digest === undefined) return `${nameOf(reference)}:${tag ?? 'latest'}`
  return `${nameOf(reference)}${tag === undefined ? '' : `:${tag}`}@${digest}`
}
