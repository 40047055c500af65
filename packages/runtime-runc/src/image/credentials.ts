// How we prove to registries who we are.
import { createHash } from 'node:crypto'
import type { AuthConfig } from '@nodelet/cri-api'

/** What a registry's 401 asks for; `error` is why it did not take what it was given. */
export type Challenge =
  { scheme: 'basic' } | { scheme: 'bearer'; realm: string; service?: string; scopes: string[]; error?: string }

/** A challenge begins with a word and a blank; its fields have an equals sign. */
const schemes = /(?:^|,\s*)(\w+)(?=\s+\w+=|\s*$|\s*,)/g
const field = /(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))/g

/**
 * Parses `WWW-Authenticate`; of several challenges a token is preferred. Undefined when none is understood.
 * @see RFC 9110, distribution's token authentication
 */
export function parseChallenge(header: string): Challenge | undefined {
  const starts = [...header.matchAll(schemes)]
  const challenges = starts.map((start, index) => ({
    scheme: (start[1] ?? '').toLowerCase(),
    fields: Object.fromEntries(
      [...header.slice(start.index + start[0].length, starts[index + 1]?.index).matchAll(field)].map(
        ([, key = '', quoted, bare = '']) => [key.toLowerCase(), quoted?.replaceAll(/\\(.)/g, '$1') ?? bare],
      ),
    ),
  }))
  const bearer = challenges.find(({ scheme, fields }) => scheme === 'bearer' && isWeb(fields.realm ?? ''))
  if (bearer) {
    const { realm = '', service, scope = '', error } = bearer.fields
    const scopes = scope.split(/\s+/).filter(Boolean)
    return { scheme: 'bearer', realm, scopes, ...(service && { service }), ...(error && { error }) }
  }
  return challenges.some(({ scheme }) => scheme === 'basic') ? { scheme: 'basic' } : undefined
}

const isWeb = (text: string): boolean => /^https?:\/\//.test(text) && URL.canParse(text)

/** User and password as CRI gives them: apart, or as one base64 word. */
export function loginOf(auth: AuthConfig | undefined): { username: string; password: string } | undefined {
  if (!auth) return undefined
  if (auth.username) return { username: auth.username, password: auth.password }
  if (!auth.auth) return undefined
  const [username = '', ...password] = Buffer.from(auth.auth, 'base64').toString().split(':')
  return { username, password: password.join(':').replace(/\0+$/, '') }
}

/** Docker Hub has several names. */
const canonical = (name: string): string =>
  name === 'index.docker.io' || name === 'registry-1.docker.io' ? 'docker.io' : name

/** Whether credentials are for this registry: they name it, with or without scheme and path, or name none. */
export function isForHost({ serverAddress }: AuthConfig, host: string): boolean {
  if (!serverAddress) return true
  const named = serverAddress.replace(/^https?:\/\//, '').replace(/\/.*$/, '')
  return canonical(named) === canonical(host)
}

/**
 * The credentials for one of the hosts that serve a registry. Those that name no registry are for all of them, but a
 * token is only for the registry that made it.
 */
export function authFor(
  auth: AuthConfig | undefined,
  { host, isMirror }: { host: string; isMirror: boolean },
): AuthConfig | undefined {
  if (!auth || !isForHost(auth, host)) return undefined
  return isMirror && !auth.serverAddress ? { ...auth, registryToken: '', identityToken: '' } : auth
}

export const basicHeader = ({ username, password }: { username: string; password: string }): string =>
  `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`

/** Tells credentials apart without keeping them. */
export const fingerprint = (auth: AuthConfig | undefined): string =>
  createHash('sha256')
    .update(JSON.stringify(auth ?? null))
    .digest('base64')
