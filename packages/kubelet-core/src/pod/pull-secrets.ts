// The credentials for an image from a pod's pull secrets.
import { createHash } from 'node:crypto'
import { type AuthConfig, AuthConfig as AuthMessage } from '@nodelet/cri-api'
import type { Pod, Secret } from 'kubernetes-types/core/v1.d.ts'
import type { ObjectSource } from '../objects.ts'
import type { PullSecret } from '../pull-records/records.ts'
import { parseImageReference } from './image-reference.ts'

interface DockerEntry {
  auth?: string
  username?: string
  password?: string
  identitytoken?: string
  registrytoken?: string
}

/** One credential and the images that it is for. */
export interface Credential {
  /** Registry host, with `*` per label, and a path prefix: `registry.example.com/team`. */
  pattern: string
  auth: AuthConfig
  /** Where it is from; undefined: it is the node's own. */
  secret?: PullSecret
}

/** The pull secrets of a pod; `missing` are the names of those that are not there or say nothing. */
export async function readPullSecrets(
  pod: Pod,
  objects: ObjectSource,
  signal?: AbortSignal,
): Promise<{ credentials: Credential[]; missing: string[] }> {
  const namespace = pod.metadata?.namespace ?? 'default'
  const names = (pod.spec?.imagePullSecrets ?? []).flatMap(({ name }) => (name ? [name] : []))
  const secrets = await Promise.all(
    names.map(async (name) => ({ name, secret: await inTime(objects.secret(namespace, name, signal)) })),
  )
  return {
    credentials: secrets.flatMap(({ secret }) => (secret ? signed(secret, credentialsOf(secret)) : [])),
    missing: secrets.filter(({ secret }) => !secret).map(({ name }) => name),
  }
}

/** Undefined when the API server did not say it in time. */
async function inTime<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading
  } catch (error) {
    if ((error as Error).name === 'TimeoutError') return undefined
    throw error
  }
}

const signed = ({ metadata }: Secret, credentials: readonly Credential[]): Credential[] =>
  credentials.map((one) => {
    const { uid = '', namespace = '', name = '' } = metadata ?? {}
    const credentialHash = createHash('sha256').update(JSON.stringify(one.auth)).digest('hex')
    return { ...one, secret: { uid, namespace, name, credentialHash } }
  })

/** What a secret of type dockerconfigjson or dockercfg holds; nothing when it cannot be read. Pure. */
export function credentialsOf({ data }: Secret): Credential[] {
  const json = (key: string): Record<string, unknown> => {
    try {
      return JSON.parse(Buffer.from(data?.[key] ?? 'e30=', 'base64').toString()) as Record<string, unknown>
    } catch {
      // A malformed secret is as good as none: the pull goes on without it, as upstream's does.
      return {}
    }
  }
  const auths = (json('.dockerconfigjson')['auths'] ?? json('.dockercfg')) as Record<string, DockerEntry>
  return Object.entries(auths).map(([server, entry]) => ({ pattern: patternOf(server), auth: authOf(server, entry) }))
}

function patternOf(server: string): string {
  const bare = server
    .replace(/^https?:\/\//, '')
    .replace(/\/(v1|v2)\/?$/, '')
    .replace(/\/+$/, '')
  return bare === 'index.docker.io' ? 'docker.io' : bare
}

function authOf(serverAddress: string, entry: DockerEntry): AuthConfig {
  const decoded = Buffer.from(entry.auth ?? '', 'base64').toString()
  const colon = decoded.indexOf(':')
  return AuthMessage.fromPartial({
    username: entry.username ?? (colon < 0 ? '' : decoded.slice(0, colon)),
    password: entry.password ?? (colon < 0 ? '' : decoded.slice(colon + 1)),
    identityToken: entry.identitytoken ?? '',
    registryToken: entry.registrytoken ?? '',
    serverAddress,
  })
}

/** The credentials for an image, the most specific first. Pure. */
export function matchCredentials(image: string, credentials: readonly Credential[]): Credential[] {
  const { host, path } = parseImageReference(image)
  return credentials
    .filter(({ pattern }) => {
      const slash = pattern.indexOf('/')
      const [patternHost, prefix] = slash < 0 ? [pattern, ''] : [pattern.slice(0, slash), pattern.slice(slash + 1)]
      return hostMatches(patternHost, host) && (prefix === '' || path.startsWith(prefix))
    })
    .toSorted((a, b) => b.pattern.length - a.pattern.length)
}

function hostMatches(pattern: string, host: string): boolean {
  const [patternName = '', patternPort] = pattern.split(':')
  const [name = '', port] = host.split(':')
  if (patternPort !== port) return false
  const wanted = patternName.split('.')
  const labels = name.split('.')
  return wanted.length === labels.length && wanted.every((label, index) => glob(label).test(labels[index] ?? ''))
}

const glob = (label: string): RegExp =>
  new RegExp(`^${label.replace(/[^a-zA-Z0-9*-]/g, '\\$&').replaceAll('*', '.*')}$`)
