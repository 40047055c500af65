// The files of `/var/log`, as `/logs/` shows them.
import { constants } from 'node:fs'
import { type FileHandle, open, readdir, readlink, realpath, stat } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { join, sep } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { hasCode } from '../errors.ts'
import { HttpError } from './http-error.ts'

const notFound = (): HttpError => new HttpError(404, '404 page not found')

/** @param path below `root`; links that lead out of it are not followed. @throws HttpError */
export async function serveSystemLog(response: ServerResponse, root: string, path: string): Promise<void> {
  const opened = await openBelow(root, path)
  if (!opened) throw notFound()
  await sendOpened(response, opened)
}

/** A file or a folder that is open, and its own path. */
export interface Opened {
  handle: FileHandle
  path: string
  isFile: boolean
}

/** @returns undefined for what is not there, lies outside of `root`, or is neither a file nor a folder. Who calls closes it */
export async function openBelow(root: string, path: string): Promise<Opened | undefined> {
  try {
    const [base, file] = await Promise.all([realpath(root), realpath(join(root, path))])
    const found = await stat(file)
    if (!isBelow(base, file) || !(found.isFile() || found.isDirectory())) return undefined
    const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    // Somebody who may write below it could have put a link in place of a folder meanwhile.
    if (isBelow(base, await readlink(`/proc/self/fd/${handle.fd}`))) {
      return { handle, path: file, isFile: found.isFile() }
    }
    await handle.close()
    return undefined
  } catch (error) {
    if (missing.some((code) => hasCode(error, code))) return undefined
    throw error
  }
}

const missing = ['ENOENT', 'ENOTDIR', 'ELOOP', 'ERR_INVALID_ARG_VALUE']
const isBelow = (base: string, file: string): boolean => file === base || file.startsWith(base + sep)

/** Sends it and closes it. */
export async function sendOpened(response: ServerResponse, { handle, path, isFile }: Opened): Promise<void> {
  await using file = handle
  if (!isFile) {
    response
      .writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' })
      .end(await listing(`/proc/self/fd/${file.fd}`))
    return
  }
  const type = path.endsWith('.gz') ? 'application/gzip' : 'text/plain; charset=utf-8'
  response.writeHead(200, { 'Content-Type': type })
  await pipeline(file.createReadStream({ autoClose: false }), response)
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
