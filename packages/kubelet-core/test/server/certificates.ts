// Certificate authorities and what they sign, made by openssl in a folder of their own.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Pair {
  cert: string
  key: string
}

export interface Authority {
  cert: string
  sign(subject: string): Pair
}

export interface Authorities extends Disposable {
  make(name: string): Authority
}

export function makeAuthorities(): Authorities {
  const folder = mkdtempSync(join(tmpdir(), 'kubelet-ca-'))
  const openssl = (...args: string[]): unknown => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' })
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const text = (name: string): string => readFileSync(join(folder, name), 'utf8')
  writeFileSync(join(folder, 'san'), 'subjectAltName=DNS:localhost,IP:127.0.0.1')
  let count = 0
  return {
    make: (ca) => {
      openssl(
        'req',
        '-x509',
        ...newKey,
        '-keyout',
        `${ca}.key`,
        '-out',
        `${ca}.crt`,
        '-subj',
        `/CN=${ca}`,
        '-days',
        '2',
      )
      return {
        cert: text(`${ca}.crt`),
        sign: (subject) => {
          const name = `${ca}-${count++}`
          openssl('req', ...newKey, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', subject)
          const by = ['-CA', `${ca}.crt`, '-CAkey', `${ca}.key`, '-CAcreateserial', '-days', '2', '-extfile', 'san']
          openssl('x509', '-req', '-in', `${name}.csr`, '-out', `${name}.crt`, ...by)
          return { cert: text(`${name}.crt`), key: text(`${name}.key`) }
        },
      }
    },
    [Symbol.dispose]: () => rmSync(folder, { recursive: true }),
  }
}
