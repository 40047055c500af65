#!/usr/bin/env node
// All plugins as one program: which of them, says the name that it is called by. Not in dist, so that npm can link it into a
// clone before there is a build.
import { enableCompileCache } from 'node:module'
import { basename, join } from 'node:path'

const built = join(import.meta.dirname, '../dist/bin')
// Beside the code, so that who may change the one may change the other.
enableCompileCache(join(built, '.compile-cache'))

const { main } = await import('../dist/bin/main.js')
const [, path = '', ...args] = process.argv
await main(basename(path), args)
