// How we prove to registries who we are.
import { CriError } from '@nodelet/cri-api'
import type { AuthConfig } from '@nodelet/cri-api'

/** What a registry's 401 asks for. */
export type Challenge = { scheme: 'basic' } | { scheme: 'bearer'; realm: string; service?: string; scope?: string }

/** Parses `WWW-Authenticate`. @see RFC 9110, distribution's token authentication */
export function parseChallenge(header: string, registry: string): Challenge {
  const [scheme = '', ...rest] = header.split(' ')
  if (scheme.toLowerCase() === 'basic') return { scheme: 'basic' }
  const fields = Object.fromEntries(
    [...rest.join(' ').matchAll(/(\w+)="([^"]*)"/g)].map(([, key = '', value = '']) => [key.toLowerCase(), value]),
  )
  if (scheme.toLowerCase() !== 'bearer' || !fields.realm || !URL.canParse(fields.realm)) {
    throw new CriError('UNAUTHENTICATED', `${registry} asks for credentials in a way not understood: ${header}`)
  }
  const { realm, service, scope } = fields
  return { scheme: 'bearer', realm, ...(service && { service }), ...(scope && { scope }) }
}

/** User and password as CRI gives them: apart, or as one base64 word. */
export function loginOf(auth: AuthConfig | undefined): { username: string; password: string } | undefined {
  if (!auth) return undefined
  if (auth.username) return { username: auth.username, password: auth.password }
  if (!auth.auth) return undefined
  const [username = '', ...password] = Buffer.from(auth.auth, 'base64').toString().split(':')
  return { username, password: password.join(':') }
}

export const basicHeader = ({ username, password }: { username: string; password: string }): string =>
  `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
