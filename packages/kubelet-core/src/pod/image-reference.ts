// Names of images as users write them. Pure.

const domain =
  /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])(?::\d+)?$/
const repository = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/
const tagPattern = /^\w[\w.-]{0,127}$/
const digestPattern = /^[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}$/

/** The parts of an image's name; host and path are in the full form: `busybox` is `docker.io` and `library/busybox`. */
export interface ImageReference {
  host: string
  path: string
  tag?: string
  digest?: string
}

/** @throws RangeError in upstream's words when the text is no image name */
export function parseImageReference(text: string): ImageReference {
  const refuse = (why: string): never => {
    throw new RangeError(`couldn't parse image name "${text}": ${why}`)
  }
  const [named = '', digest, ...more] = text.split('@')
  if (more.length > 0 || (digest !== undefined && !digestPattern.test(digest)))
    return refuse('invalid reference format')
  const colon = named.lastIndexOf(':')
  const tagged = colon > named.lastIndexOf('/')
  const name = tagged ? named.slice(0, colon) : named
  const tag = tagged ? named.slice(colon + 1) : undefined
  if (tag !== undefined && !tagPattern.test(tag)) return refuse('invalid reference format')
  const slash = name.indexOf('/')
  const first = slash < 0 ? '' : name.slice(0, slash)
  const hasHost = /[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase()
  const host = hasHost ? first : 'docker.io'
  const rest = hasHost ? name.slice(slash + 1) : name
  if (!domain.test(host)) return refuse('invalid reference format')
  if (!repository.test(rest)) {
    const why = rest !== rest.toLowerCase() ? ': repository name must be lowercase' : ''
    return refuse(`invalid reference format${why}`)
  }
  const path = host === 'docker.io' && !rest.includes('/') ? `library/${rest}` : rest
  return { host, path, ...(tag !== undefined && { tag }), ...(digest !== undefined && { digest }) }
}

/** What the API server would set: Always for the tag latest or none, else IfNotPresent. */
export function defaultPullPolicy(text: string): 'Always' | 'IfNotPresent' {
  const { tag, digest } = parseImageReference(text)
  return (tag ?? (digest === undefined ? 'latest' : '')) === 'latest' ? 'Always' : 'IfNotPresent'
}

/** The name as runtimes are asked: one without tag and digest is that of `latest`. */
export function withTag(text: string): string {
  const { tag, digest } = parseImageReference(text)
  return tag === undefined && digest === undefined ? `${text}:latest` : text
}

/** In full, as runtimes list it: `busybox` is `docker.io/library/busybox:latest`; a digest stands for a tag beside it. */
export function canonicalReference(text: string): string {
  const { host, path, tag = 'latest', digest } = parseImageReference(text)
  return digest === undefined ? `${host}/${path}:${tag}` : `${host}/${path}@${digest}`
}
