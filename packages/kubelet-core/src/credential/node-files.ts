// Registry credentials that the node itself has, in the files that docker made common.
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Logger } from '../log.ts'
import { type Credential, credentialsOf } from '../pod/pull-secrets.ts'

/** Where they are looked for, in this order; all that are there count. */
export const nodeCredentialFiles = (rootDir: string): string[] => [
  ...new Set([
    join(rootDir, 'config.json'),
    join(process.cwd(), 'config.json'),
    join(homedir(), '.docker/config.json'),
    '/.docker/config.json',
  ]),
]

/** Read anew each time: a pull is rarer than a change of these files is missed. A broken one is told to the log. */
export async function readNodeCredentials(paths: readonly string[], log: Logger): Promise<Credential[]> {
  const found = await Promise.all(
    paths.map(async (path) => {
      try {
        const text = await readFile(path, 'utf8')
        JSON.parse(text)
        return credentialsOf({ data: { '.dockerconfigjson': Buffer.from(text).toString('base64') } })
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
          log.warn({ err: error, file: path }, 'registry credentials of this node cannot be read')
        }
        return []
      }
    }),
  )
  return found.flat()
}
