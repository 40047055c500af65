// The files of `/var/log`, as `/logs/` shows them.
import { createReadStream } from 'node:fs'
import { readdir, realpath, stat } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { join, sep } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { HttpError } from './http-error.ts'

const notFound = (): HttpError => new HttpError(404, '404 page not found')

/** @param path below `root`; links that lead out of it are not followed. @throws HttpError */
export async function serveSystemLog(response: ServerResponse, root: string, path: string): Promise<void> {
  const [base, file] = await resolved(root, path)
  if (file !== base && !file.startsWith(base + sep)) throw notFound()
  const found = await stat(file)
  if (found.isDirectory()) {
    response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' }).end(await listing(file))
    return
  }
  if (!found.isFile()) throw notFound()
  const type = file.endsWith('.gz') ? 'application/gzip' : 'text/plain; charset=utf-8'
  response.writeHead(200, { 'Content-Type': type })
  await pipeline(createReadStream(file), response)
}

async function resolved(root: string, path: string): Promise<[string, string]> {
  try {
    return await Promise.all([realpath(root), realpath(join(root, path))])
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP' || code === 'ERR_INVALID_ARG_VALUE')
      throw notFound()
    throw error
  }
}

async function listing(folder: string): Promise<string> {
  const entries = await readdir(folder, { withFileTypes: true })
  const names = entries.map((entry) => entry.name + (entry.isDirectory() ? '/' : '')).toSorted()
  const lines = names.map(
    (name) => `<a href="${encodeURI(name).replaceAll('#', '%23').replaceAll('?', '%3F')}">${escaped(name)}</a>`,
  )
  return `<!doctype html>\n<meta name="viewport" content="width=device-width">\n<pre>\n${lines.map((one) => `${one}\n`).join('')}</pre>\n`
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&#34;',
  "'": '&#39;',
}
const escaped = (text: string): string => text.replaceAll(/[&<>"']/g, (char) => entities[char] ?? char)
