/** Node modules and `dist/`, when they are missing or old. */
import { build, installModules } from './setup.mjs';

installModules();
build();
