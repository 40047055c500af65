// Tokens as a token server of a registry makes them.
import { execFileSync } from 'node:child_process'
import { createSign } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Of who makes tokens; its files are put into the folder. */
export function makeCertificate(folder: string): { key: string; certificate: string } {
  const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  const words = '-x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=tests'.split(' ')
  execFileSync('openssl', ['req', ...words, '-keyout', key, '-out', certificate], { stdio: 'ignore' })
  return { key: readFileSync(key, 'utf8'), certificate: readFileSync(certificate, 'utf8') }
}

/** A token that a registry which trusts the certificate takes. `life` is in seconds; a minute more is tolerated. */
export function makeToken(key: string, certificate: string, access: object[], life = 60): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const now = Math.floor(Date.now() / 1000)
  const x5c = [certificate.replace(/-----[^-]+-----|\s/g, '')]
  const claims = {
    iss: 'tests',
    aud: 'registry',
    sub: '',
    exp: now + life,
    nbf: now - 1000,
    iat: now - 1000,
    jti: String(now),
    access,
  }
  const signed = `${part({ typ: 'JWT', alg: 'RS256', x5c })}.${part(claims)}`
  return `${signed}.${createSign('RSA-SHA256').update(signed).sign(key, 'base64url')}`
}
