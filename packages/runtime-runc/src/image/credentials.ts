// How we prove to registries who we are.
import { CriError } from '@nodelet/cri-api'
import type { AuthConfig } from '@nodelet/cri-api'

/** What a registry's 401 asks for. */
export type Challenge = { scheme: 'basic' } | { scheme: 'bearer'; realm: string; service?: string; scope?: string }

/** A challenge begins with a word and a blank; its fields have an equals sign. */
const schemes = /(?:^|,\s*)(\w+)(?=\s+\w+=|\s*$|\s*,)/g
const field = /(\w+)=(?:"([^"]*)"|([^\s,]+))/g

/**
 * Parses `WWW-Authenticate`; of several challenges a token is preferred.
 * @throws CriError UNAUTHENTICATED
 * @see RFC 9110, distribution's token authentication
 */
export function parseChallenge(header: string, registry: string): Challenge {
  const starts = [...header.matchAll(schemes)]
  const challenges = starts.map((start, index) => ({
    scheme: (start[1] ?? '').toLowerCase(),
    fields: Object.fromEntries(
      [...header.slice(start.index + start[0].length, starts[index + 1]?.index).matchAll(field)].map(
        ([, key = '', quoted, bare = '']) => [key.toLowerCase(), quoted ?? bare],
      ),
    ),
  }))
  const bearer = challenges.find(({ scheme, fields }) => scheme === 'bearer' && URL.canParse(fields.realm ?? ''))
  if (bearer) {
    const { realm = '', service, scope } = bearer.fields
    return { scheme: 'bearer', realm, ...(service && { service }), ...(scope && { scope }) }
  }
  if (challenges.some(({ scheme }) => scheme === 'basic')) return { scheme: 'basic' }
  throw new CriError('UNAUTHENTICATED', `${registry} asks for credentials in a way not understood: ${header}`)
}

/** User and password as CRI gives them: apart, or as one base64 word. */
export function loginOf(auth: AuthConfig | undefined): { username: string; password: string } | undefined {
  if (!auth) return undefined
  if (auth.username) return { username: auth.username, password: auth.password }
  if (!auth.auth) return undefined
  const [username = '', ...password] = Buffer.from(auth.auth, 'base64').toString().split(':')
  return { username, password: password.join(':') }
}

/** Whether credentials are for this registry: they name it, with or without scheme and path, or name none. */
export function isForHost({ serverAddress }: AuthConfig, host: string): boolean {
  if (!serverAddress) return true
  const named = serverAddress.replace(/^https?:\/\//, '').replace(/\/.*$/, '')
  const canonical = (name: string): string =>
    name === 'index.docker.io' || name === 'registry-1.docker.io' ? 'docker.io' : name
  return canonical(named) === canonical(host)
}

export const basicHeader = ({ username, password }: { username: string; password: string }): string =>
  `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
